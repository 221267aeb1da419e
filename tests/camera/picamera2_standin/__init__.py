"""A stand-in for picamera2 and libcamera at the border of those modules: the part of their documented interface that the
backend uses, with their timing and their faults. It is no Raspberry Pi: it proves how the backend behaves when they behave so.
"""
