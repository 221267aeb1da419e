"""The live page: skeletons, latencies and tunable settings in a browser.

``sink`` is its place in the node, ``server`` speaks HTTP and WebSocket on a thread of its own, ``access`` decides who may,
``requests`` does what a viewer asks for, ``page/`` is what the browser gets.
"""
