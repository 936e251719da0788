import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.models.segmentors import BaseSegmentor
from scipy.special import softmax
from scipy.stats import entropy

from cda_mmseg.evaluation.entropy import class_probabilities, mean_normalized_entropy


@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('num_classes', [2, 6, 19])
def test_against_scipy(num_classes, stride):
    scores = np.random.default_rng(num_classes).normal(scale=3, size=(num_classes, 9, 14))
    expected = entropy(softmax(scores[:, ::stride, ::stride], axis=0), base=num_classes, axis=0).mean()
    assert mean_normalized_entropy(torch.tensor(scores, dtype=torch.float32), stride) == pytest.approx(
        expected, rel=1e-5
    )


def test_uniform_and_certain_scores():
    scores = torch.zeros(19, 8, 8)
    assert mean_normalized_entropy(scores) == pytest.approx(1, abs=1e-6)
    scores[3] = 1e4
    assert mean_normalized_entropy(scores) == 0
    scores[5] = -math.inf
    assert mean_normalized_entropy(scores) == 0


def test_the_single_channel_of_a_binary_head_is_a_probability():
    foreground = torch.full((1, 8, 8), 0.25)
    assert mean_normalized_entropy(foreground) == pytest.approx(entropy([0.25, 0.75], base=2), rel=1e-6)


def test_the_classes_of_a_binary_head_are_mmsegs():
    head = SimpleNamespace(decode_head=SimpleNamespace(threshold=0.5), align_corners=False)
    logits = torch.randn(1, 1, 6, 7)
    (sample,) = BaseSegmentor.postprocess_result(head, logits)
    probabilities = class_probabilities(sample.seg_logits.data)
    assert torch.equal(probabilities.argmax(0), sample.pred_sem_seg.data[0].long())
    assert torch.allclose(probabilities[1], logits[0, 0].sigmoid()) and len(probabilities) == 2


def test_half_precision_scores():
    scores = torch.randn(19, 8, 8, generator=torch.Generator().manual_seed(0))
    assert mean_normalized_entropy(scores.bfloat16()) == pytest.approx(mean_normalized_entropy(scores), rel=1e-2)
