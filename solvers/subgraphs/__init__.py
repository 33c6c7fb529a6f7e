"""Connected sub-graphs of a DAG under budgets."""

from solvers.subgraphs.program import SubgraphProgram
from solvers.subgraphs.projection import SubgraphModel, cheapest_subgraph, project_subgraph
