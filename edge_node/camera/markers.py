"""The colours that mark the joints of drawn figures: what the synthetic scene draws and the built-in marker model looks for.

A joint is a filled disc of one hue around its exact position; a person's centre, half way between shoulders and hips, is one
more. Everything else in the scene is grey. Blending with grey, at a disc's edge or in a resampled picture, changes how strong a
colour is but not its hue, so the share of each pixel that a disc covers can be read off exactly. The five joints of the face,
whose discs may touch, have hues far from each other: a blend of two is no third one's.
"""

import math

Rgb = tuple[int, int, int]

AMPLITUDE = 127
"""Half the range of a channel: a mark is mid-grey 128 and this much colour."""

HUES_DEG = (
    140,  # nose
    80,  # left_eye
    220,  # right_eye
    0,  # left_ear
    280,  # right_ear
    20,  # left_shoulder
    200,  # right_shoulder
    40,  # left_elbow
    240,  # right_elbow
    60,  # left_wrist
    260,  # right_wrist
    100,  # left_hip
    300,  # right_hip
    120,  # left_knee
    320,  # right_knee
    160,  # left_ankle
    340,  # right_ankle
)
"""In COCO's order of keypoints, left and right being the person's own; 20 degrees apart at least."""
CENTRE_HUE_DEG = 180

FACE_RADIUS = 0.016
BODY_RADIUS = 0.024
CENTRE_RADIUS = 0.030
"""Radii of the discs, as a share of the figure's height."""


def colour(hue_deg: float) -> Rgb:
    """The mark of a hue: mid-grey plus full colour in that direction."""
    red, green, blue = (128 + round(AMPLITUDE * math.cos(math.radians(hue_deg - turn))) for turn in (0, 120, 240))
    return red, green, blue


JOINT_COLOURS: tuple[Rgb, ...] = tuple(colour(hue) for hue in HUES_DEG)
CENTRE_COLOUR: Rgb = colour(CENTRE_HUE_DEG)
