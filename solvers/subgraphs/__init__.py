"""Connected sub-graphs of a DAG under budgets."""

from solvers.subgraphs.chains import ChainCertificate, project_chain
from solvers.subgraphs.filling import SubgraphFilling
from solvers.subgraphs.program import SubgraphProgram
from solvers.subgraphs.projection import SubgraphModel, cheapest_subgraph, project_subgraph
