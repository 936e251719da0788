"""Counts: by hand on tiny networks, and against real steps."""

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.counts import (
    DOMAINS,
    PASSES,
    PASSES_OF_KIND,
    NetworkCount,
    count_network,
    count_players,
    count_small_steps,
    count_step,
    format_calls,
    format_players,
    format_projection,
    format_steps,
    project,
    small_config,
    step_flop,
)
from benchmarks.street_step import our_step, street_config

DOCUMENT = Path(__file__).resolve().parents[2] / 'docs' / 'performance.md'


@pytest.fixture(scope='module')
def counted():
    return count_small_steps()


def test_a_network_counted_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), nn.Conv2d(8, 2, 1, bias=False))
    count = count_network(lambda inputs: [network(*inputs)], [torch.randn(1, 3, 4, 6)], [network, network])
    first, second = 2 * 3 * 9 * 8 * 24, 2 * 8 * 2 * 24
    assert count.flop == {
        'forward': first + second,
        'to_weights': first + 2 * second,
        'to_inputs': first + second,
        'to_both': 2 * (first + second),
    }
    # The sigmoid and the second convolution keep one and the same map.
    assert count.kept == 4 * 8 * 24
    assert count.weights == 2 * (3 * 9 * 8 + 8 + 16)


def test_passes_of_real_steps(counted):
    expected = {'naive': (7, 7, 12), 'ours': (3, 5, 10), 'separate': (3, 5, 10)}
    players = ('encoder', 'generator', 'discriminator')
    assert {order: tuple(counted[order].passes(name) for name in players) for order in counted} == expected
    for order, passes in PASSES.items():
        sums = [sum(PASSES_OF_KIND[kind] * count for kind, count in passes[name].items()) for name in players]
        assert tuple(sums) == expected[order]


def test_less_memory_takes_a_forward_pass_of_e_and_two_of_g_more():
    low = count_step(lambda: our_step(small_config(), dict(memory='low'), fused=False))
    assert [low.passes(name) for name in ('encoder', 'generator', 'discriminator')] == [4, 7, 10]


def test_flop_of_a_step_are_those_of_its_passes(counted):
    players = count_players(small_config())
    assert step_flop('naive', players) == counted['naive'].flop
    assert step_flop('ours', players) == counted['ours'].flop == counted['separate'].flop


def test_both_domains_in_one_batch_run_through_the_weights_once(counted):
    kinds = ('forward', 'inputs', 'weights')
    calls = {order: [counted[order].calls('encoder', kind) for kind in kinds] for order in counted}
    assert calls == {'naive': [6, 4, 4], 'separate': [DOMAINS] * 3, 'ours': [1, 1, 1]}


def test_the_document_has_the_tables_as_counted(counted):
    text = DOCUMENT.read_text()
    players = count_players(street_config(4096, (1024, 512)))
    tables = [
        format_players(players),
        format_steps(players, counted),
        format_calls(counted),
        format_projection(players),
    ]
    assert [table for table in tables if table not in text] == []


def test_projection_by_hand():
    network = NetworkCount({'forward': 10**12, 'to_weights': 2 * 10**12, 'to_inputs': 0, 'to_both': 0}, 10**9, 10**8)
    nothing = NetworkCount(dict.fromkeys(('forward', 'to_weights', 'to_inputs', 'to_both'), 0), 0, 0)
    players = {'encoder': network, 'head': nothing, 'generator': nothing, 'discriminator': nothing}
    # Two images, three passes of 1 TFLOP each, at 40 % of 156 TFLOP/s; 70 % of 2.04 TB/s.
    assert project(players, 'A100 SXM 80 GB', 'TF32') == pytest.approx(
        {'convolutions': 6 / 62.4 * 1e3, 'activations': 10 / 1.428, 'optimizers': 2.8 / 1.428}
    )
    half = project(players, 'A100 SXM 80 GB', 'bf16')
    assert half == pytest.approx({'convolutions': 3 / 62.4 * 1e3, 'activations': 5 / 1.428, 'optimizers': 2.8 / 1.428})
