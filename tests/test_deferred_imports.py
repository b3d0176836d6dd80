"""Speech does not import the deferred modules, and they are there when they are used."""

from .test_import import run

HEAVY = ("torch._dynamo", "triton", "peft", "transformers.modeling_utils", "scipy", "onnxruntime")
LOAD = """
import sys
from ns2_diffusers import NaturalSpeech2Pipeline, bundled
pipe = NaturalSpeech2Pipeline.from_pretrained(bundled())
pipe.set_progress_bar_config(disable=True)
"""
SPEAK = f"""
import builtins, torch
real = builtins.__import__, torch.compiler.disable
{LOAD}
pipe("One.", num_inference_steps=1)
print([name for name in {HEAVY} if name in sys.modules])
assert (builtins.__import__, torch.compiler.disable) == real and "_dynamo" not in torch.__dict__
"""
# Each kind of placeholder: a decorator, a class for isinstance, modules, and torch's compiler itself.
USE = f"""
{LOAD}
import torch
from diffusers.hooks import layerwise_casting
from diffusers.models.attention import BasicTransformerBlock
from diffusers.pipelines import pipeline_loading_utils, pipeline_utils
from diffusers.utils.torch_utils import is_compiled_module
assert not isinstance(pipe.denoiser, layerwise_casting.BaseTunerLayer)
assert not issubclass(type(pipe.denoiser), pipeline_loading_utils.PreTrainedModel)
assert not any(name in sys.modules for name in {HEAVY})

from torch._dynamo import trace_rules
assert trace_rules.is_callable_allowed(BasicTransformerBlock)
assert is_compiled_module(torch.compile(torch.nn.Linear(1, 1)))
list(pipe.progress_bar([1]))  # under torch.compiler.disable

from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
assert issubclass(AutoencoderKL, pipeline_utils.AutoencoderKL)
scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_beta_sigmas=True)
scheduler.set_timesteps(4)  # by scipy.stats.beta
from transformers import PreTrainedModel
assert issubclass(PreTrainedModel, pipeline_loading_utils.PreTrainedModel)

pipe.load_lora_weights(bundled() / "few_steps")
assert any(isinstance(each, layerwise_casting.BaseTunerLayer) for each in pipe.denoiser.modules())
pipe.denoiser.enable_layerwise_casting(torch.bfloat16, torch.float32)
hooks = [each._diffusers_hook for each in pipe.denoiser.modules() if hasattr(each, "_diffusers_hook")]
assert any(each.get_hook("peft_autocast_disable") is not None for each in hooks)
pipe("One.")
print("all works")
"""


def test_speech_imports_nothing_that_it_does_not_use():
    assert run(SPEAK).stdout == "[]\n"


def test_the_command_imports_nothing_that_it_does_not_use(tmp_path):
    arguments = ["generate", "One.", "--steps", "1", "-q", "--runtime", "torch", "-o", str(tmp_path / "out.wav")]
    program = f"""
import sys
from ns2_diffusers.cli import main
assert main({arguments}) == 0
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run(program).stdout == "[]\n"


def test_what_was_deferred_works():
    assert run(USE).stdout == "all works\n"


def test_what_is_imported_already_is_not_deferred():
    program = f"import ns2_diffusers, torch, peft, torch._dynamo, scipy.stats\n{LOAD}"
    program += "from diffusers.hooks import layerwise_casting\n"
    program += "from peft.tuners.tuners_utils import BaseTunerLayer\n"
    program += "print(layerwise_casting.BaseTunerLayer is BaseTunerLayer, torch._dynamo)"
    assert run(program).stdout.startswith("True <module")
