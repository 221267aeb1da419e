"""What can be done with a recording: read it, export it, draw its people, render and plot them. The sink ``record`` writes it."""
