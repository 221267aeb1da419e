"""The synthetic scene of the camera as a sequence: drawn figures that walk, act, cross and hide one another."""

from collections.abc import Iterator

import numpy as np

from edge_node.camera.figures import ROUND_S, Figure, Scene
from edge_node.evaluate.truth import FEWEST_VISIBLE, TrueFrame, TruePerson, default_area_px

SIZE_PX = (640, 480)
FPS = 30.0
STARTS_S = ROUND_S / 4
"""By then most figures of a round are on their way."""


class DrawnScene:
    """``frames`` of the scene with ``figures`` people. The built-in marker model sees their joints; a real one may not."""

    def __init__(self, figures: int, frames: int) -> None:
        self._figures, self._frames = figures, frames
        self.name = f"drawn scene of {figures}"

    @property
    def fps(self) -> float:
        return FPS

    def frames(self) -> Iterator[TrueFrame]:
        """From the quarter of the scene's first round on."""
        scene = Scene(*SIZE_PX, people=self._figures)
        image = np.empty((SIZE_PX[1], SIZE_PX[0], 3), np.uint8)
        for index in range(self._frames):
            t_s = STARTS_S + index / FPS
            scene.render(t_s, image)
            yield TrueFrame(image.copy(), tuple(_person(figure) for figure in scene.truth(t_s)), cut=index == 0)


def _person(figure: Figure) -> TruePerson:
    keypoints = figure.keypoints_px.copy()
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] < SIZE_PX)).all(axis=1)
    visible = keypoints[:, 2] > 0
    keypoints[:, 2] = np.where(visible, 2, np.where(inside, 1, 0))
    return TruePerson(figure.id, keypoints, default_area_px(keypoints), demanded=int(visible.sum()) >= FEWEST_VISIBLE)
