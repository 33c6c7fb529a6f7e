"""Files of a user: a network with choices, a graph, and a network without anything to choose."""

NETWORK = """
from torch import nn
from graphs import Choice

def block(name, channels):
    narrow = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())
    wide = nn.Sequential(nn.Conv2d(channels, channels, 5, padding=2), nn.BatchNorm2d(channels), nn.ReLU())
    return Choice(name, {"skip": nn.Identity(), "narrow": narrow, "wide": wide})

def build(classes, channels=3):
    blocks = nn.Sequential(block("one", 8), block("two", 8), block("three", 8))
    return nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

def without(classes=10):
    return nn.Flatten()

def broken(classes=10):
    raise RuntimeError("no such luck")
"""
GRAPH = """
from functools import partial
import networkx as nx
from torch import nn
from graphs import add_edge, add_layer

def build(classes=10, channels=1, resolution=16):
    dag = nx.MultiDiGraph(name="own")
    add_layer(dag, "image", (channels, resolution, resolution))
    for name in ("first", "second"):
        add_layer(dag, name, (4, resolution, resolution))
    add_layer(dag, "logits", (classes,))
    add_edge(dag, "image", "first", partial(nn.Conv2d, channels, 4, 3, padding=1))
    add_edge(dag, "first", "second", partial(nn.Conv2d, 4, 4, 3, padding=1), decision="conv", option=1, key="conv")
    add_edge(dag, "first", "second", nn.Identity, decision="copy", option=1, key="copy")
    head = lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    add_edge(dag, "second", "logits", head)
    return dag
"""
PLAIN = """
from torch import nn

def block(channels):
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())

def build(classes=10, channels=1):
    layers = [nn.Conv2d(channels, 8, 3, 2, 1), block(8), block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, classes))
"""
