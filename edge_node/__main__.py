"""``python -m edge_node`` is the ``edge-node`` command."""

import sys

from edge_node.cli import main

sys.exit(main())
