"""Metrics over source and target."""

from .domain_iou import DomainIoUMetric
from .log_processor import DomainLogProcessor

__all__ = ['DomainIoUMetric', 'DomainLogProcessor']
