"""The colours that mark the joints of drawn figures: what the synthetic scene draws and the built-in marker model looks for.

Every colour is of the grid {0, 128, 255}³ without its greys, so two colours are 127 or more apart in at least one channel, and
any grey is 127 or more (sum over the channels) from every one of them: background and bodies are drawn in greys only.
A joint is a filled disc of its colour around its exact position; a person's centre, half way between shoulders and hips, is one more.
"""

Rgb = tuple[int, int, int]

JOINT_COLOURS: tuple[Rgb, ...] = (
    (255, 0, 0),  # nose
    (0, 255, 0),  # left_eye
    (0, 0, 255),  # right_eye
    (255, 255, 0),  # left_ear
    (0, 255, 255),  # right_ear
    (255, 0, 255),  # left_shoulder
    (255, 128, 0),  # right_shoulder
    (0, 255, 128),  # left_elbow
    (128, 0, 255),  # right_elbow
    (128, 255, 0),  # left_wrist
    (0, 128, 255),  # right_wrist
    (255, 0, 128),  # left_hip
    (128, 0, 0),  # right_hip
    (0, 128, 0),  # left_knee
    (0, 0, 128),  # right_knee
    (128, 128, 0),  # left_ankle
    (0, 128, 128),  # right_ankle
)
"""In COCO's order of keypoints, left and right being the figure's own."""
CENTRE_COLOUR: Rgb = (128, 0, 128)

FACE_RADIUS = 0.016
BODY_RADIUS = 0.024
CENTRE_RADIUS = 0.030
"""Radii of the discs, as a share of the figure's height."""
