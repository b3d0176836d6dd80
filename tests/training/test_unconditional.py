import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, TransformerDenoiser
from ns2_diffusers.models.modeling_outputs import DenoiserOutput
from ns2_diffusers.training.unconditional import unconditional_loss


class Echo(torch.nn.Module):
    """Returns its input, and remembers it."""

    def forward(self, sample, timestep, sample_mask, self_condition=None):
        self.sample, self.timestep, self.estimate = sample, timestep, self_condition
        return DenoiserOutput(sample=sample)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_it_is_the_squared_error_of_what_is_predicted(kind):
    scheduler, echo = NaturalSpeech2DDIMScheduler(prediction_type=kind), Echo()
    latents, mask = torch.randn(3, 4, 10), torch.arange(10)[None] < torch.tensor([[10], [6], [1]])
    torch.manual_seed(5)
    loss = unconditional_loss(echo, scheduler, latents, mask)
    torch.manual_seed(5)
    noise = torch.randn_like(latents)
    alpha, sigma = (value.view(-1, 1, 1) for value in scheduler.alpha_sigma(echo.timestep))
    clean = latents * mask.unsqueeze(1)
    torch.testing.assert_close(echo.sample, alpha * clean + sigma * noise)
    wanted = {"sample": clean, "epsilon": noise, "v_prediction": alpha * noise - sigma * clean}[kind]
    kept = mask.unsqueeze(1).expand_as(latents)
    torch.testing.assert_close(loss, (echo.sample - wanted)[kept].square().mean())


def test_an_estimate_is_that_of_the_first_pass():
    scheduler, echo = NaturalSpeech2DDIMScheduler(prediction_type="sample"), Echo()
    unconditional_loss(
        echo, scheduler, torch.randn(2, 4, 5), torch.ones(2, 5, dtype=torch.bool), self_conditioning=True
    )
    torch.testing.assert_close(echo.estimate, echo.sample)


def test_padding_reaches_nothing_and_all_that_is_used_learns():
    denoiser = TransformerDenoiser(latent_channels=4, hidden_size=16, num_layers=1, num_attention_heads=2)
    scheduler = NaturalSpeech2DDIMScheduler(prediction_type="epsilon")
    latents, mask = torch.randn(2, 4, 6), torch.arange(6)[None] < torch.tensor([[6], [3]])
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    losses = []
    for padding in (0.0, 1e3):
        torch.manual_seed(1)
        filled = torch.where(mask.unsqueeze(1), latents, padding)
        losses.append(unconditional_loss(denoiser, scheduler, filled, mask, min_snr_gamma=5.0))
    torch.testing.assert_close(*losses)
    losses[0].backward()
    silent = {name for name, parameter in denoiser.named_parameters() if parameter.grad is None}
    assert all("prompt" in name or "quer" in name or "guidance" in name or "null" in name for name in silent), silent
