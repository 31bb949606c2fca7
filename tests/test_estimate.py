"""`--estimate`: parameters, operations and memory from shapes alone, lengths from the real rows."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from doctor_sun.errors import InputError
from doctor_sun.models.build import (
    VOCABULARY_TILE,
    ModelConfig,
    build_model,
    load_language_model,
)
from doctor_sun.models.low_rank import LowRankConfig
from doctor_sun.training.accelerators import ACCELERATORS, AcceleratorConfig, accelerator_of
from doctor_sun.training.cost import build_shapes, training_cost
from doctor_sun.training.engine import LARGEST_BUCKET, EngineConfig, in_slices, set_trainable
from doctor_sun.training.estimate import state_bytes, step_bytes
from doctor_sun.training.mixture import MixtureItem
from doctor_sun.training.stage import StageConfig, run
from tests.small_data import write_small_data
from tests.tiny_models import build_clip, build_llm

LAYERS, HIDDEN = 32, 4096


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny bases and rows, and Llama-3.1-8B as a configuration without weights."""
    path = tmp_path_factory.mktemp("estimate")
    build_llm(path / "llm")
    build_clip(path / "clip")
    write_small_data(path / "data")
    LlamaConfig(
        vocab_size=128_256,
        hidden_size=HIDDEN,
        intermediate_size=14_336,
        num_hidden_layers=LAYERS,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
        max_position_embeddings=131_072,
    ).save_pretrained(path / "llama")
    AutoTokenizer.from_pretrained(path / "llm").save_pretrained(path / "llama")
    return path


def config(folder: Path, llm: str, **changes: object) -> StageConfig:
    settings: dict[str, object] = {
        "stage": "instruct",
        "output": str(folder / "unused"),
        "data": str(folder / "data"),
        "model": ModelConfig(
            llm=str(folder / llm), vision=str(folder / "clip"), low_rank=LowRankConfig(rank=4)
        ),
        "learning_rate": {"llm": 1e-5, "projector": 1e-5, "vision": 1e-5},
        "mixture": [MixtureItem(share=1, tasks=["vqa"])],
        "samples": 160,
        "max_length": 128,
        "estimate": True,
    }
    return StageConfig(**{**settings, **changes})  # type: ignore[arg-type]


def test_shapes_are_those_of_the_model_with_weights(folder: Path) -> None:
    made = config(folder, "llm").model
    real, shapes = build_model(made), build_shapes(made)
    assert {p.device.type for p in shapes.model.parameters()} == {"meta"}
    named = ((n, p.shape) for n, p in real.model.named_parameters())
    assert dict(named) == {n: p.shape for n, p in shapes.model.named_parameters()}
    assert (shapes.image_tokens, shapes.image_size) == (real.image_tokens, real.image_size)


@pytest.mark.slow
@pytest.mark.parametrize(("modules", "passes"), [(("projector",), 4), (("llm", "projector"), 6)])
def test_a_token_costs_what_the_field_counts(
    folder: Path, modules: tuple[str, ...], passes: int
) -> None:
    """Six operations a parameter and token where all trains, four where gradients pass through."""
    built = build_shapes(ModelConfig(llm=str(folder / "llama"), vision=str(folder / "clip")))
    cost = training_cost(built, dict.fromkeys(modules, 1.0), EngineConfig())
    decoder = sum(p.numel() for p in built.model.llm.get_decoder().layers.parameters())
    assert cost.operations.token == pytest.approx(passes * decoder, rel=1e-3)
    assert cost.operations.squared_token == pytest.approx(12 * LAYERS * HIDDEN)
    head = built.model.llm.get_output_embeddings().weight.numel()
    assert cost.operations.label == pytest.approx(passes * head)
    trained = sum(trained for trained, _ in cost.modules.values())
    set_trainable(built.model, dict.fromkeys(modules, 1.0))
    assert trained == sum(p.numel() for p in built.model.parameters() if p.requires_grad)


def test_a_weight_that_has_no_part_in_the_loss_is_refused(folder: Path) -> None:
    built = build_shapes(ModelConfig(llm=str(folder / "llm"), vision=str(folder / "clip")))
    assert built.model.vision is not None
    dead = torch.nn.Parameter(torch.empty(2, device="meta"))
    built.model.vision.blocks[0].mlp.c_fc.register_parameter("lora_A", dead)
    with pytest.raises(InputError, match=r"1 tensors .* the first is 'vision\..*lora_A'"):
        training_cost(built, {"projector": 1.0, "vision": 1.0}, EngineConfig())


def test_a_vocabulary_that_grows_fills_whole_tiles(tmp_path: Path) -> None:
    llm = build_llm(tmp_path / "llm")
    tokenizer = AutoTokenizer.from_pretrained(llm)
    model = AutoModelForCausalLM.from_pretrained(llm)
    model.resize_token_embeddings(len(tokenizer) - 1)
    model.save_pretrained(llm)
    rows = load_language_model(llm, tokenizer).get_output_embeddings().out_features
    assert rows == -(-len(tokenizer) // VOCABULARY_TILE) * VOCABULARY_TILE


def test_what_is_kept_for_the_backward_pass_is_what_pytorch_keeps(folder: Path) -> None:
    """Against the tensors of a real forward pass; fused attention keeps nothing quadratic."""
    model = ModelConfig(llm=str(folder / "llm"), vision=str(folder / "clip"))
    rates = {"llm": 1.0, "projector": 1.0}
    foretold = training_cost(build_shapes(model), rates, EngineConfig()).activations
    built = build_model(model)
    set_trainable(built.model, rates)
    own = {p.untyped_storage().data_ptr() for p in built.model.parameters()}
    kept: dict[int, int] = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    tokens = 200
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        hidden = built.model.llm.get_decoder()(
            inputs_embeds=torch.randn(1, tokens, 128, requires_grad=True),
            attention_mask=None,
            row_lengths=[tokens],
            use_cache=False,
        ).last_hidden_state
    real = sum(size for place, size in kept.items() if place not in own)
    assert hidden.requires_grad
    assert foretold.token * tokens == pytest.approx(real, rel=0.15)


def test_sharding_divides_what_it_shards() -> None:
    modules = {"llm": (8 * 10**9, 0)}
    engine = EngineConfig(zero_stage=2, precision="bf16")
    alone, shared = ([state_bytes(modules, engine, s, w) for s in range(4)] for w in (1, 8))
    assert shared[0] == alone[0]
    assert shared[1]["optimizer"] == alone[1]["optimizer"] / 8
    assert shared[1]["parameters"] == alone[1]["parameters"] == 16e9
    assert shared[2]["gradients"] < shared[1]["gradients"] / 5
    assert shared[3]["parameters"] < shared[2]["parameters"] / 5
    offload = EngineConfig(zero_stage=2, precision="bf16", offload_optimizer=True)
    assert state_bytes(modules, offload, 2, 8)["optimizer"] == 0


def test_a_step_s_copy_of_the_gradients_is_that_of_a_slice() -> None:
    modules = {"llm": (8 * 10**9, 0), "projector": (4 * 10**6, 0)}
    engine = EngineConfig(zero_stage=2, precision="bf16")
    copies = [step_bytes(modules, engine, stage, 2) for stage in range(4)]
    assert copies == [0, 6 * LARGEST_BUCKET / 2, 6 * LARGEST_BUCKET / 2, 0]
    parameters = [torch.nn.Parameter(torch.empty(size)) for size in (3, 4, 9, 1, 2)]
    groups = [{"params": parameters, "name": "llm"}, {"params": parameters[:1], "name": "vision"}]
    slices = list(in_slices(groups, most=7))
    assert [group["name"] for group in slices] == ["llm", "llm", "llm", "vision"]
    sizes = [[p.numel() for p in group["params"]] for group in slices]
    assert sizes == [[3, 4], [9], [1, 2], [3]]


def test_accelerators_are_known_by_their_driver_s_name() -> None:
    assert accelerator_of("NVIDIA H100 80GB HBM3") == ACCELERATORS["H100"]
    assert accelerator_of("NVIDIA A800-SXM4-80GB") == ACCELERATORS["A800"]
    assert accelerator_of("NVIDIA H200") == ACCELERATORS["H200"]
    assert accelerator_of("Tesla T4") is None


@pytest.mark.slow
def test_an_estimate_of_the_paper_s_language_model_takes_no_weights(
    ray_cluster: None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run(
        config(
            folder,
            "llama",
            engine=EngineConfig(zero_stage=3, precision="bf16", gradient_checkpointing=True),
            accelerator=AcceleratorConfig(name="H200", utilisation=0.4, price_per_hour=3.0),
        )
    )
    assert not (folder / "unused").exists()
    assert figures["modules"]["llm"] == (8_030_261_248, 0)
    assert figures["rows"] == figures["images"] == 160
    assert figures["operations"] > 6 * 6.9e9 * figures["tokens"]
    hours = figures["operations"] / (ACCELERATORS["H200"].peak * 0.4) / 3600
    assert figures["accelerator_hours"] == pytest.approx(hours)
    assert figures["price"] == pytest.approx(3 * hours)
    memory = figures["memory_gib"]
    assert memory[0]["all"] > memory[1]["all"] > memory[2]["all"] > memory[3]["all"]
    printed = capsys.readouterr().out
    assert "8,030,261,248" in printed
    assert "more than one H200 has" not in printed.splitlines()[-5]
