"""Measuring how right the poses are: on annotated pictures, and on sequences whose truth is known for every frame."""
