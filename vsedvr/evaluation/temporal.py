"""Temporal consistency: how well a restored frame agrees with the one before, measured along the motion of the ground truth.

tOF compares the motion of frames and uses Farneback's optical flow, as its authors do. The warped difference compares pixels,
so it needs an exact flow. It uses DIS, where its authors use a network, FlowNet2. Farneback's flow is off by up to half a pixel
in fast motion. DIS follows single pixels, and therefore more easily mistakes noise and missing detail for motion.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from vsedvr.data.clip import Frame
from vsedvr.evaluation.scoring import Scoring, Temporal

__all__ = ["Flow", "can_be_followed", "dis_flow", "farneback_flow", "measure_temporal"]

Flow = NDArray[np.float32]
"""Motion (h, w, 2): how far each pixel of a picture moves to the right and down until another picture, in pixels."""


def measure_temporal(restored: tuple[Frame, Frame], gt: tuple[Frame, Frame], scoring: Scoring) -> Temporal | None:
    """Compares the change between two successive restored frames with the change in the ground truth.

    tOF (Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation", 2020) is the mean length
    of the difference between the optical flow of the restored frames and that of the truth, over all pixels inside the border.
    TecoGAN's own evaluation leaves out a border of 8 to 23 pixels, and two frames at each end of a clip.

    The warped difference is the warping error of Lai et al. ("Learning Blind Video Temporal Consistency", ECCV 2018): the frame
    before is warped onto the frame by the truth's flow, and the squared difference is averaged over the channels that the
    scoring compares, and over those pixels inside the border that can be followed (see can_be_followed).

    Args:
        restored: the previous and the current restored frame, each (h, w, 3), RGB, at least 16x16.
        gt: the same frames of the ground truth.
        scoring: which channels and pixels are scored.

    Returns:
        The measurements; None if no pixel can be followed, as at a cut.
    """
    inside = scoring.inside
    back = dis_flow(*gt[::-1])
    followed = can_be_followed(dis_flow(*gt), back)[inside, inside]
    if not followed.any():
        return None
    tof = np.linalg.norm(farneback_flow(*restored) - farneback_flow(*gt), axis=2)[inside, inside].mean()
    of_restored, of_gt = (
        float(_squared_difference(frames, back, scoring)[inside, inside][followed].mean()) for frames in (restored, gt)
    )
    return Temporal(float(tof), of_restored, of_gt)


def farneback_flow(frame: Frame, other: Frame) -> Flow:
    """Computes the optical flow from a frame to another by Farneback's method, with TecoGAN's parameters.

    Args:
        frame: frame (h, w, 3), RGB.
        other: frame of the same size.
    """
    flow = cv2.calcOpticalFlowFarneback(
        _gray(frame), _gray(other), None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )  # type: ignore[call-overload]
    return np.asarray(flow, np.float32)


def dis_flow(frame: Frame, other: Frame) -> Flow:
    """Computes the optical flow from a frame to another by DIS (Kroeger et al., ECCV 2016) at full resolution.

    Args:
        frame: frame (h, w, 3), RGB, at least 16x16.
        other: frame of the same size.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # the preset stops at half the resolution, where a shift by one pixel is wrong by a tenth
    return np.asarray(dis.calc(_gray(frame), _gray(other), None), np.float32)  # type: ignore[call-overload]


def can_be_followed(there: Flow, back: Flow) -> NDArray[np.bool_]:
    """Finds the pixels of a frame that are visible in the frame before, too.

    A pixel can be followed if its place in the frame before is inside the picture, the flows of both directions agree there
    (|there + back|^2 <= 0.01 (|there|^2 + |back|^2) + 0.5), and no border between two motions is near (the squared gradient of
    `back` is at most 0.01 |back|^2 + 0.002). These are the rules of Sundaram et al. (ECCV 2010), as Lai et al. apply them.

    Args:
        there: flow from the frame before to the frame.
        back: flow from the frame to the frame before.

    Returns:
        Mask (h, w) of these pixels.
    """
    height, width = back.shape[:2]
    x, y = _origins(back)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    there = _warp(there, back)
    agree = _square(there + back) <= 0.01 * (_square(there) + _square(back)) + 0.5
    to_the_right, down = (np.diff(back, axis=axis, append=back.take([-1], axis)) for axis in (1, 0))
    smooth = _square(to_the_right) + _square(down) <= 0.01 * _square(back) + 0.002
    return inside & agree & smooth


def _squared_difference(frames: tuple[Frame, Frame], back: Flow, scoring: Scoring) -> NDArray[np.float32]:
    """Returns the squared difference (h, w), 0 to 1, of a frame to the warped frame before, averaged over channels."""
    before, here = (np.asarray(scoring.channels(frame) / 255, np.float32) for frame in frames)
    squared = np.square(_warp(before, back) - here)
    return squared if scoring.y_channel else np.asarray(squared.mean(2), np.float32)


def _gray(frame: Frame) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def _warp(picture: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Warps a picture, (h, w) or (h, w, c), back along a flow: bilinear, with edge pixels repeated."""
    return np.asarray(cv2.remap(picture, *_origins(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _origins(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the position to which each pixel's flow leads: x and y, (h, w) each, in pixels from the top left one."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def _square(vectors: Flow) -> NDArray[np.float32]:
    """Returns the squared length of each vector, (h, w)."""
    return np.asarray(np.square(vectors).sum(2), np.float32)
