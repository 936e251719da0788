"""Metrics over source and target."""

from .domain_iou import DomainIoUMetric

__all__ = ['DomainIoUMetric']
