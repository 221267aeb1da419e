"""edge_node: a camera node that says where people's joints are, and nothing else."""

__version__ = "0.1.0"
