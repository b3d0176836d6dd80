import copy
import os
import socket

import pytest
import torch
import torch.multiprocessing as mp

from ns2_diffusers import ResidualVectorQuantizer


def quantizer(codebooks, **config):
    codebooks = torch.tensor(codebooks)
    made = ResidualVectorQuantizer(codebooks.shape[2], codebooks.shape[0], codebooks.shape[1], **config)
    made.codebooks.copy_(codebooks)
    made.cluster_size.fill_(1.0)
    made.initialized.fill_(True)
    return made


def test_two_levels_by_hand():
    rvq = quantizer([[[0.0], [4.0]], [[-1.0], [1.0]]]).eval()
    latents = torch.tensor([[[4.5, -0.5, 2.9]]])
    output = rvq(latents)
    # 4.5 → 4 + 1; -0.5 → 0 - 1; 2.9 → 4 - 1.
    assert output.codes.tolist() == [[[1, 0, 1], [1, 0, 0]]]
    torch.testing.assert_close(output.latents, torch.tensor([[[5.0, -1.0, 3.0]]]))
    first, second = (0.5**2 + 0.5**2 + 1.1**2) / 3, (0.5**2 + 0.5**2 + 0.1**2) / 3
    assert output.commitment_loss.item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert rvq.encode(latents).tolist() == output.codes.tolist()
    assert rvq.encode(latents, num_codebooks=1).tolist() == [[[1, 0, 1]]]
    torch.testing.assert_close(rvq.decode(output.codes), output.latents)
    torch.testing.assert_close(rvq.decode(output.codes[:, :1]), torch.tensor([[[4.0, 0.0, 4.0]]]))


def test_gradients_go_straight_through_and_commitment_pulls():
    rvq = quantizer([[[0.0], [4.0]]]).eval()
    latents = torch.tensor([[[4.5, -0.5]]], requires_grad=True)
    output = rvq(latents)
    (output.latents * torch.tensor([2.0, 3.0])).sum().backward()
    assert latents.grad.tolist() == [[[2.0, 3.0]]]
    latents.grad = None
    rvq(latents).commitment_loss.backward()
    # d/dx of mean (x - e)²: 2 · 0.5 / 2 and 2 · (-0.5) / 2.
    torch.testing.assert_close(latents.grad, torch.tensor([[[0.5, -0.5]]]))


def test_moving_average_by_hand():
    rvq = quantizer([[[0.0], [4.0]]], decay=0.9, dead_code_threshold=0.0).train()
    rvq.cluster_size[0] = torch.tensor([1.0, 2.0])
    rvq(torch.tensor([[[1.0, 2.0 - 0.1, 6.0]]]))
    # n = 0.9 · 1 + 0.1 · 2 and 0.9 · 2 + 0.1 · 1; sums 2.9 and 6.
    sizes = torch.tensor([1.1, 1.9])
    means = torch.tensor([(0.9 * 1 * 0 + 0.1 * 2.9) / 1.1, (0.9 * 2 * 4 + 0.1 * 6) / 1.9])
    torch.testing.assert_close(rvq.cluster_size[0], sizes)
    torch.testing.assert_close(rvq.codebooks[0, :, 0], means)


def test_first_batch_initialises_with_its_clusters():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    frames = (centres.repeat(50, 1) + 0.01 * torch.randn(200, 2)).T.unsqueeze(0)
    rvq = ResidualVectorQuantizer(2, num_codebooks=2, codebook_size=8).train()
    output = rvq(frames)
    assert rvq.initialized
    assert (output.latents - frames).abs().max() < 0.05
    before = rvq.codebooks[0].clone()
    rvq(frames + 1)
    moved = rvq.codebooks[0] - before  # from now on the entry moves by a hundredth
    assert 0 < moved.max() < 0.1


def test_fewer_frames_than_codes_initialise_too():
    rvq = ResidualVectorQuantizer(2, num_codebooks=1, codebook_size=16).train()
    frames = torch.randn(1, 2, 5)
    torch.testing.assert_close(rvq(frames).latents, frames)


def test_dead_codes_move_to_the_data():
    rvq = quantizer([[[0.0], [100.0]]], decay=0.5, dead_code_threshold=0.2).train()
    frames = torch.tensor([[[-1.0, 1.0, 3.0]]])
    for _ in range(5):
        rvq(frames)
    assert rvq.codebooks.max() < 3.1
    assert set(rvq(frames).codes.flatten().tolist()) == {0, 1}
    still = quantizer([[[0.0], [100.0]]], decay=0.5, dead_code_threshold=0.0).train()
    for _ in range(5):
        still(frames)
    assert still.codebooks[0, 1] == 100.0


@pytest.mark.parametrize("train", [True, False])
def test_padding_counts_for_nothing(train):
    frames = torch.randn(1, 4, 6)
    padded = torch.cat([frames, torch.full((1, 4, 3), 50.0)], dim=2)
    mask = torch.arange(9)[None] < 6
    alone = ResidualVectorQuantizer(4, 3, 8, dead_code_threshold=0.0).train(train)
    batched = copy.deepcopy(alone)
    for _ in range(2 if train else 1):
        torch.manual_seed(3)
        expected = alone(frames)
        torch.manual_seed(3)
        output = batched(padded, mask)
        torch.testing.assert_close(output.latents[..., :6], expected.latents)
        assert torch.equal(output.codes[..., :6], expected.codes)
        assert output.latents[..., 6:].abs().max() == 0 and output.codes[..., 6:].max() == 0
        torch.testing.assert_close(output.commitment_loss, expected.commitment_loss)
        torch.testing.assert_close(batched.codebooks, alone.codebooks)
        torch.testing.assert_close(batched.cluster_size, alone.cluster_size)


@pytest.mark.parametrize("initialized", [True, False])
def test_a_nan_teaches_the_codebooks_nothing(initialized):
    frames = torch.randn(1, 4, 12)
    spoilt = torch.cat([frames, torch.full((1, 4, 1), torch.nan), torch.full((1, 4, 1), torch.inf)], dim=2)
    clean = ResidualVectorQuantizer(4, 2, 8, dead_code_threshold=0.0).train()
    clean.initialized.fill_(initialized)
    damaged = copy.deepcopy(clean)
    for rvq, latents in ((clean, frames), (damaged, spoilt)):
        torch.manual_seed(3)
        output = rvq(latents)
    assert not output.commitment_loss.isfinite()
    torch.testing.assert_close(damaged.codebooks, clean.codebooks)
    torch.testing.assert_close(damaged.cluster_size, clean.cluster_size)


def test_quantizer_dropout_stops_at_a_random_codebook():
    rvq = quantizer(torch.randn(4, 16, 3).tolist(), quantizer_dropout=1.0, decay=1.0, dead_code_threshold=0.0)
    latents = torch.randn(64, 3, 2)
    output = rvq.train()(latents)
    coarse = torch.stack([rvq.decode(output.codes[:, :n]) for n in range(1, 5)])
    errors = (coarse - output.latents).abs().amax(dim=(2, 3))
    used = errors.argmin(dim=0) + 1
    assert errors.amin(dim=0).max() < 1e-5
    assert set(used.tolist()) == {1, 2, 3, 4}
    torch.testing.assert_close(rvq.eval()(latents).latents, rvq.decode(rvq.encode(latents)))


def test_evaluation_and_no_grad_change_nothing():
    rvq = ResidualVectorQuantizer(4, 3, 8)
    before = {name: value.clone() for name, value in rvq.state_dict().items()}
    latents = torch.randn(2, 4, 6)
    first = rvq.eval()(latents)
    second = rvq(latents)
    assert torch.equal(first.codes, second.codes) and torch.equal(first.latents, second.latents)
    with torch.no_grad():
        rvq.train()(latents)
    for name, value in rvq.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_half_precision_latents_give_the_same_codes():
    rvq = ResidualVectorQuantizer(4, 3, 8).eval()
    latents = torch.randn(2, 4, 6).bfloat16()
    output = rvq(latents)
    assert output.latents.dtype == torch.bfloat16
    assert torch.equal(output.codes, rvq(latents.float()).codes)


def test_too_many_codebooks_are_refused():
    rvq = ResidualVectorQuantizer(4, 3, 8)
    with pytest.raises(ValueError, match="at most 3"):
        rvq.decode(torch.zeros(1, 4, 5, dtype=torch.long))


def _train_one_of_two(rank, port, rvq, frames, results):
    rvq = copy.deepcopy(rvq)  # the input is shared memory
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(rank)
    rvq(frames[rank : rank + 1])
    fresh = ResidualVectorQuantizer(4, 2, 8).train()
    fresh(frames[rank : rank + 1])
    fresh(frames[rank : rank + 1])
    results[rank] = (rvq.codebooks.tolist(), fresh.codebooks.tolist())
    torch.distributed.destroy_process_group()


def test_two_processes_learn_what_one_would():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rvq = quantizer(torch.randn(2, 8, 4).tolist(), dead_code_threshold=0.0).train()
    frames = torch.randn(2, 4, 20)
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_train_one_of_two, (port, rvq, frames, results), nprocs=2)
        (trained, fresh), (other_trained, other_fresh) = results[0], results[1]
    rvq(frames)
    assert trained == other_trained and fresh == other_fresh
    torch.testing.assert_close(torch.tensor(trained), rvq.codebooks)
