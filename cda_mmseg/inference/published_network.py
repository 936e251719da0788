"""Read a published network: a folder of tools/publish_model.py, or the ONNX model in it."""

import hashlib
import json
import os

import torch
from mmengine.config import Config
from mmseg.models.segmentors import BaseSegmentor, EncoderDecoder
from torch import Tensor

from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.utils.loading.config_text import read_config_text
from cda_mmseg.utils.loading.errors import CheckpointError, UnreadableCheckpointError

ONNX = '.onnx'


def read_published(path: str, device: str) -> tuple[BaseSegmentor, Config]:
    """Build a published network in evaluation mode; nothing in the folder or file is run.

    Args:
        path: A published folder, or a file whose name ends in ``.onnx``.
        device: Where the network computes; for ONNX 'cpu'.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        CheckpointError: If it was not published by this package, or is damaged.
    """
    if path.endswith(ONNX):
        model = OnnxSegmentor(path)
        return model.eval(), model.cfg
    file = os.path.join(path, 'config.py')
    if not os.path.isfile(file):
        raise FileNotFoundError(f'There is no published network {path}: it has no config.py.')
    with open(file, encoding='utf-8') as text:
        config = read_config_text(text.read(), file)
    model = init_trained_model(config, os.path.join(path, 'model.safetensors'), device)
    model.dataset_meta = config.test_dataloader.dataset.metainfo
    return model, config


class OnnxSegmentor(EncoderDecoder):
    """An exported network in the place of the one it was made from; what surrounds a network is still mmseg's.

    Args:
        path: The ONNX model.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read, was not made by tools/publish_model.py, or onnxruntime is missing.
    """

    def __init__(self, path: str) -> None:
        # not EncoderDecoder's, which would build a backbone; normalisation is in the file
        BaseSegmentor.__init__(self, data_preprocessor=dict(type='SegDataPreProcessor', bgr_to_rgb=True))
        try:
            import onnxruntime
        except ImportError as error:
            raise CheckpointError(f'{path}: running it needs a package: `pip install onnxruntime`.') from error
        if not os.path.isfile(path):
            raise FileNotFoundError(f'There is no ONNX model {path}.')
        with open(path, 'rb') as file:
            digest = hashlib.file_digest(file, 'sha256').digest()
        try:
            self.session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        except Exception as error:  # onnxruntime's errors have no common class
            raise UnreadableCheckpointError(
                f'{path} cannot be read as an ONNX model ({str(error).splitlines()[0]}). Copy it again.'
            ) from error
        about = self.session.get_modelmeta().custom_metadata_map
        if 'config' not in about:
            raise CheckpointError(
                f'{path} was not made by tools/publish_model.py: it does not say how to read pictures.'
            )
        self.cfg = read_config_text(about['config'], path)
        self.dataset_meta = self.cfg.test_dataloader.dataset.metainfo
        self.test_cfg = self.cfg.model.test_cfg
        self.align_corners = json.loads(about['align_corners'])
        self.num_classes = self.out_channels = len(self.dataset_meta.classes)
        # in the place of weights, so that predictions of another file are told apart
        self.register_buffer('digest', torch.tensor(list(digest), dtype=torch.uint8))

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return scores (N, num_classes, H, W) of RGB pictures (N, 3, H, W) in 0..255."""
        images = inputs.permute(0, 2, 3, 1).to(torch.uint8).numpy()
        (scores,) = self.session.run(['scores'], {'images': images})
        return torch.from_numpy(scores)
