import numpy as np
import pytest
import torch

from ns2_diffusers import PhonemeAligner
from ns2_diffusers.training.alignment import AlignmentObjective, align_batch, alignment_priors, speech_clock
from ns2_diffusers.training.losses import beta_binomial_prior, latents_of


def test_the_speech_clock_stands_still_in_pauses():
    f0 = torch.tensor([0.0] * 20 + [100.0] * 5 + [0.0] * 4 + [100.0] * 5 + [0.0] * 12 + [100.0])
    elapsed = np.diff(speech_clock(f0), prepend=0)
    wanted = np.ones(47)
    wanted[:16] = 0.02  # the silence before, but for four frames of consonants
    wanted[38:42] = 0.02  # the middle of the long gap; the short one counts in full
    np.testing.assert_allclose(elapsed, wanted)


def test_without_a_voice_the_clock_is_time():
    np.testing.assert_array_equal(speech_clock(torch.zeros(3)), [1, 2, 3])


def test_priors_are_padded_beta_binomials_of_the_clock():
    voiced, late = torch.full((10,), 100.0), torch.tensor([0.0] * 20 + [100.0] * 10)
    priors = alignment_priors([3, 4], [voiced, late])
    assert priors.shape == (2, 30, 4)
    assert torch.equal(priors[0, :10, :3], beta_binomial_prior(3, 10))
    assert not priors[0, 10:].any() and not priors[0, :, 3].any()
    torch.testing.assert_close(priors[1].sum(1), torch.ones(30))
    # Time alone would expect the third phoneme in the middle; speech has not begun there.
    assert priors[1, 14].argmax() == 0
    assert beta_binomial_prior(4, 30)[14].argmax() > 0


@pytest.fixture
def toy():
    """Utterances of four sounds, each a code of its own that lasts 2 to 8 frames, after and before silence."""
    generator = torch.Generator().manual_seed(0)
    codebooks = torch.randn(1, 6, 8, generator=generator)

    def batch(size):
        ids, durations = [], []
        for _ in range(size):
            # Never the same twice in a row: nobody could say where one ends.
            sounds = 1 + torch.randint(1, 4, (9,), generator=generator).cumsum(0) % 4
            ids.append(torch.cat([torch.tensor([0]), sounds, torch.tensor([5])]))
            durations.append(torch.randint(2, 9, (11,), generator=generator))
        ids, durations = torch.stack(ids), torch.stack(durations)
        frames = int(durations.sum(1).max())
        codes, f0 = torch.full((size, 1, frames), 5), torch.zeros(size, frames)
        for item in range(size):
            sounds = ids[item].repeat_interleave(durations[item])
            codes[item, 0, : len(sounds)] = sounds
            f0[item, : len(sounds)] = 100.0 * (sounds > 0) * (sounds < 5)
        frame_mask = torch.arange(frames) < durations.sum(1, keepdim=True)
        masks = {"frame_mask": frame_mask, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
        prior = alignment_priors([11] * size, [row[mask] for row, mask in zip(f0, frame_mask, strict=True)])
        return {"codes": codes, "input_ids": ids, **masks, "alignment_prior": prior}, durations

    return codebooks, batch


def boundary_error(found, wanted):
    return (found.cumsum(1) - wanted.cumsum(1)).abs().float().mean()


def test_an_aligner_learns_where_sounds_begin(toy):
    torch.manual_seed(0)
    codebooks, make_batch = toy
    sizes = {"hidden_size": 32, "attention_channels": 16, "frame_kernel_sizes": (3,), "dropout": 0.0}
    aligner = PhonemeAligner(vocab_size=6, feature_channels=8, **sizes)
    objective = AlignmentObjective(aligner, codebooks)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    batch, wanted = make_batch(8)
    before = boundary_error(objective.eval().align(batch), wanted)
    objective.train()
    for step in range(50):
        losses = objective(make_batch(8)[0])
        (losses["alignment"] + step / 50 * losses["binarization"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = boundary_error(objective.eval().align(batch), wanted)
    assert after < 0.5 < before


def test_latents_get_no_gradient_from_their_alignment(toy):
    codebooks, make_batch = toy
    batch, _ = make_batch(2)
    aligner = PhonemeAligner(vocab_size=6, feature_channels=8, hidden_size=8, attention_channels=4)
    latents = latents_of(batch["codes"], codebooks).requires_grad_()
    _, losses = align_batch(aligner, latents, batch)
    sum(losses.values()).backward()
    assert latents.grad is None
    assert all(parameter.grad.any() for parameter in aligner.parameters())
