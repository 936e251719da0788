"""Write a network as an ONNX model that takes pictures and gives classes, and compare it with what it was made from."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import torch
from mmengine.config import Config
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn

from cda_mmseg.models.backbones.large_kernel_conv import LargeKernelConv2d

EXAMPLE = (2, 128, 192)
"""Pictures, height and width that the exporter sees."""

OTHERS = ((1, 160, 224), (3, 96, 128), (1, 161, 131))
"""What the exported model is compared at."""

LARGEST_DIFFERENCE = 1e-3
LEAST_AGREEMENT = 0.999


class ExportError(RuntimeError):
    """Say why a network cannot be written as ONNX, or that what was written computes something else."""


class PicturesToClasses(nn.Module):
    """A network with its normalisation: uint8 (N, H, W, 3), RGB, to class ids (N, H, W), uint8, and scores.

    Args:
        model: The network, in evaluation mode.
        takes_rgb: Whether the network itself takes RGB, not BGR.

    Raises:
        ExportError: If its pictures are padded, or not of three channels, or it has a single score map.
    """

    def __init__(self, model: EncoderDecoder, takes_rgb: bool) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        if preprocessor.test_cfg or getattr(preprocessor, 'mean', torch.empty(0)).numel() != 3:
            raise ExportError('--onnx takes networks of pictures with three channels and means, and without padding.')
        if model.out_channels < 2:
            raise ExportError('--onnx takes networks with a score map per class, not a single one for two classes.')
        self.model, self.takes_rgb = model, takes_rgb
        for module in model.modules():
            if isinstance(module, LargeKernelConv2d):
                module.may_gather = False
        self.register_buffer('mean', preprocessor.mean)
        self.register_buffer('std', preprocessor.std)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class ids and scores (N, num_classes, H, W)."""
        pictures = images.permute(0, 3, 1, 2)
        if not self.takes_rgb:
            pictures = pictures.flip(1)
        pictures = (pictures.float() - self.mean) / self.std
        scores = self.model.encode_decode(pictures, [dict(img_shape=pictures.shape[2:])])
        return scores.argmax(1).to(torch.uint8), scores


def export(model: EncoderDecoder, plain: Config, path: Path) -> None:
    """Write ``model`` to ``path``, with number, height and width of the pictures left open.

    Args:
        model: The network, on the CPU in evaluation mode.
        plain: Its published config, which goes into the metadata with classes and palette.
        path: The file.

    Raises:
        ExportError: If the network cannot be exported, or computes something else at another size.
    """
    preprocessor = plain.model.data_preprocessor
    takes_rgb = bool(preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr'))
    network = PicturesToClasses(model, takes_rgb).eval()
    anything = torch.export.Dim.DYNAMIC
    try:
        with _silent():
            program = torch.onnx.export(
                network,
                (_pictures(EXAMPLE),),
                dynamo=True,
                dynamic_shapes=dict(images={0: anything, 1: anything, 2: anything}),
                input_names=['images'],
                output_names=['class_ids', 'scores'],
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises nearly everything
        reason = next(iter(str(error.__cause__ or error).strip().splitlines()), repr(error))
        raise ExportError(f'torch cannot write this network as ONNX ({reason}).') from error
    meta = plain.test_dataloader.dataset.metainfo
    program.model.metadata_props.update(
        classes=json.dumps(meta.classes),
        palette=json.dumps(meta.palette),
        align_corners=json.dumps(bool(model.align_corners)),
        config=plain.pretty_text,
    )
    _forget_sources(program.model)
    program.save(path)
    _compare(network, path)


def _forget_sources(model: onnx_ir.Model) -> None:
    """Leave out what the exporter notes at every node: lines of source files, with their paths on this machine."""
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            for noted in (node, *node.outputs):
                noted.metadata_props.clear()
                noted.doc_string = None


def _compare(network: nn.Module, path: Path) -> None:
    """Run both on the same pictures, of sizes that the exporter has not seen."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for size in OTHERS:
        images = _pictures(size)
        with torch.no_grad():
            ids, scores = (output.numpy() for output in network(images))
        try:
            found_ids, found = session.run(None, {'images': images.numpy()})
        except Exception as error:  # onnxruntime's errors have no common class
            raise ExportError(f'The ONNX model fails on pictures of {size}: {str(error).splitlines()[0]}') from error
        if found.shape != scores.shape:
            raise ExportError(f'The ONNX model gives scores {found.shape} for pictures of {size}, not {scores.shape}.')
        difference = float(np.abs(found - scores).max() / np.abs(scores).max())
        agreement = float((found_ids == ids).mean())
        if not (difference <= LARGEST_DIFFERENCE and agreement >= LEAST_AGREEMENT):
            raise ExportError(
                f'The ONNX model computes something else for pictures of {size}: scores differ by {difference:.1e} of '
                f'the largest, {agreement:.2%} of the classes are equal.'
            )


def _pictures(size: tuple[int, int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(sum(size))
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=draw)


@contextmanager
def _silent() -> Iterator[None]:
    """Leave out what the exporter says of every node."""
    former = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(former)
