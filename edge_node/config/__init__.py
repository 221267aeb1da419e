"""The settings of a node: ``models`` say what can be set, ``load`` reads it, ``settings`` holds it while the node runs."""
