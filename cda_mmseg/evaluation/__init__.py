"""Metrics over source and target."""

import cda_mmseg.host  # noqa: F401

from .domain_iou import DomainIoUMetric
from .log_processor import DomainLogProcessor
from .pixel_probabilities import PixelProbabilities

__all__ = ['DomainIoUMetric', 'DomainLogProcessor', 'PixelProbabilities']
