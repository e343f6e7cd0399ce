"""SAEs are found by the paths alone. The layouts are those of real repositories, named where they are from."""

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import close_session
from pytest_django import Settings

from steering.formats import LAYOUTS, UnreadableSAE, read_config
from steering.hub import catalogue
from steering.hub.catalogue import FoundSAE, NoSuchFolder, TooManyFiles, find_saes, list_folder, list_repository
from steering.tests import sae_files
from steering.tests.hub_server import hub_server


def saelens(*folders: str) -> list[str]:
    return [
        f"{folder}/{name}"
        for folder in folders
        for name in ("cfg.json", "sae_weights.safetensors", "sparsity.safetensors")
    ]


def told(found: list[FoundSAE]) -> list[tuple[object, ...]]:
    return [(sae.path, sae.layer, sae.hook_point, sae.width, sae.sparsity) for sae in found]


def test_gemma_scope_tells_layer_width_and_sparsity_and_its_embedding_is_none() -> None:
    paths = [
        "README.md",
        "embedding/width_4k/average_l0_6/params.npz",
        "layer_20/width_65k/average_l0_61/params.npz",
        "layer_20/width_16k/average_l0_139/params.npz",
        "layer_20/width_16k/average_l0_71/params.npz",
        "layer_5/width_1m/average_l0_9/params.npz",
    ]
    found = find_saes(paths, "google/gemma-scope-2b-pt-res")
    assert told(found) == [
        ("layer_5/width_1m/average_l0_9", 5, "hook_resid_post", 1_048_576, 9),
        ("layer_20/width_16k/average_l0_71", 20, "hook_resid_post", 16_384, 71),
        ("layer_20/width_16k/average_l0_139", 20, "hook_resid_post", 16_384, 139),
        ("layer_20/width_65k/average_l0_61", 20, "hook_resid_post", 65_536, 61),
    ]
    assert {sae.format for sae in found} == {"gemma_scope"}
    assert found[1].files == ("layer_20/width_16k/average_l0_71/params.npz",)


@pytest.mark.parametrize(
    ("repo_id", "hook_point"),
    [
        ("google/gemma-scope-9b-it-res", "hook_resid_post"),
        ("google/gemma-scope-2b-pt-mlp", "hook_mlp_out"),
        ("google/gemma-scope-2b-pt-att", "hook_z"),
        ("someone/copied", None),
        ("", None),
    ],
)
def test_the_repository_of_gemma_scope_tells_the_hook_point(repo_id: str, hook_point: str | None) -> None:
    [found] = find_saes(["layer_0/width_131k/average_l0_12/params.npz"], repo_id)
    assert (found.hook_point, found.layer, found.width) == (hook_point, 0, 131_072)


def test_gemma_scope_2_tells_the_hook_point_by_the_folder_and_its_transcoders_are_none() -> None:
    names = (
        "resid_post/layer_13",
        "resid_post_all/layer_2",
        "mlp_out/layer_13",
        "attn_out/layer_13",
        "transcoder/layer_13",
    )
    paths = [f"{name}_width_262k_l0_small/{file}" for name in names for file in ("config.json", "params.safetensors")]
    found = find_saes(paths, "google/gemma-scope-2-1b-pt")
    assert told(found) == [
        ("resid_post_all/layer_2_width_262k_l0_small", 2, "hook_resid_post", 262_144, None),
        ("attn_out/layer_13_width_262k_l0_small", 13, "hook_z", 262_144, None),
        ("mlp_out/layer_13_width_262k_l0_small", 13, "hook_mlp_out", 262_144, None),
        ("resid_post/layer_13_width_262k_l0_small", 13, "hook_resid_post", 262_144, None),
    ]


def test_the_transcoders_of_gemma_scope_are_no_saes() -> None:
    assert find_saes(["layer_0/width_16k/average_l0_76/params.npz"], "google/gemma-scope-2b-pt-transcoders") == []


def test_saelens_tells_layer_and_hook_point_by_the_folder() -> None:
    # jbloom/GPT2-Small-SAEs-Reformatted
    found = find_saes(saelens("blocks.10.hook_resid_pre", "blocks.9.hook_resid_pre", "blocks.11.hook_resid_post"))
    assert told(found) == [
        ("blocks.9.hook_resid_pre", 9, "hook_resid_pre", None, None),
        ("blocks.10.hook_resid_pre", 10, "hook_resid_pre", None, None),
        ("blocks.11.hook_resid_post", 11, "hook_resid_post", None, None),
    ]
    assert found[0].format == "saelens"
    assert found[0].files == ("blocks.9.hook_resid_pre/cfg.json", "blocks.9.hook_resid_pre/sae_weights.safetensors")


@pytest.mark.parametrize(
    ("repo_id", "folder", "expected"),
    [
        (
            "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8",
            "blocks.8.hook_resid_pre_98304",
            (8, "hook_resid_pre", 98_304),
        ),
        (
            "jbloom/Gemma-2b-Residual-Stream-SAEs",
            "gemma_2b_blocks.0.hook_resid_post_16384_anthropic",
            (0, "hook_resid_post", 16_384),
        ),
        (
            "tommmcgrath/gpt2-small-mlp-out-saes",
            "sae_group_gpt2_blocks.11.hook_mlp_out_24576:v2",
            (11, "hook_mlp_out", 24_576),
        ),
        ("jbloom/GPT2-Small-OAI-v5-128k-attn-out-SAEs", "v5_128k_layer_11", (11, "hook_attn_out", 131_072)),
        ("jbloom/GPT2-Small-OAI-v5-32k-resid-mid-SAEs", "v5_32k_layer_3", (3, "hook_resid_mid", 32_768)),
        ("JoshEngels/Mistral-7B-Residual-Stream-SAEs", "mistral_7b_layer_16", (16, None, None)),
        ("ctigges/pythia-70m-deduped__att-sm_processed", "5-att-sm", (5, "hook_attn_out", None)),
        ("neuronpedia/gpt2-small__res_sce-ajt", "10-res_sce-ajt", (10, None, None)),  # these are resid_pre
        ("ctigges/pythia-70m-deduped__res-sm_processed", "e-res-sm", (None, None, None)),
        ("someone/attn", "blocks.3.attn.hook_z", (3, "hook_z", None)),
        ("ghidav/1l-arithmetics", "l1_2/hook_mlp_out", (None, "hook_mlp_out", None)),
        ("someone/my-sae", "final", (None, None, None)),
    ],
)
def test_the_names_that_people_give_to_saelens_folders(
    repo_id: str, folder: str, expected: tuple[int | None, str | None, int | None]
) -> None:
    [found] = find_saes(saelens(folder), repo_id)
    assert (found.layer, found.hook_point, found.width) == expected


def test_width_and_sparsity_may_be_in_the_name_of_the_repository() -> None:
    repo_id = "chanind/gemma-2-2b-batch-topk-matryoshka-saes-w-32k-l0-40"
    [found] = find_saes(saelens("standard/blocks.12.hook_resid_post"), repo_id)
    assert told([found]) == [("standard/blocks.12.hook_resid_post", 12, "hook_resid_post", 32_768, 40)]


@pytest.mark.parametrize(
    ("letter", "hook_point"), [("R", "hook_resid_post"), ("M", "hook_mlp_out"), ("A", "hook_attn_out")]
)
@pytest.mark.parametrize(("times", "width"), [(8, 32_768), (32, 131_072)])
def test_llama_scope_tells_all_by_letter_and_expansion(letter: str, hook_point: str, times: int, width: int) -> None:
    folder = f"Llama3_1-8B-Base-L15{letter}-{times}x"
    paths = [f"{folder}/{name}" for name in ("hyperparams.json", "lm_config.json", "checkpoints/final.safetensors")]
    [found] = find_saes(paths, f"fnlp/Llama3_1-8B-Base-LX{letter}-{times}x")
    assert told([found]) == [(folder, 15, hook_point, width, None)]
    assert found.format == "llama_scope"
    assert found.files == (f"{folder}/hyperparams.json", f"{folder}/checkpoints/final.safetensors")


def test_an_sae_at_the_top_is_told_by_the_repository() -> None:
    [found] = find_saes(["hyperparams.json", "checkpoints/final.safetensors"], "fnlp/Llama3_1-8B-Base-L7M-8x")
    assert told([found]) == [("", 7, "hook_mlp_out", 32_768, None)]
    assert found.files == ("hyperparams.json", "checkpoints/final.safetensors")


def test_sparsify_tells_layer_and_hook_point_by_the_module() -> None:
    # EleutherAI/sae-llama-3-8b-32x, EleutherAI/sae-SmolLM2-135M-64x, and GPT-2's names of modules
    folders = (
        "embed_tokens",
        "layers.12",
        "layers.2",
        "layers.2.mlp",
        "layers.2.self_attn",
        "run/h.3",
        "transformer.h.4.mlp",
    )
    found = find_saes([f"{folder}/{name}" for folder in folders for name in ("cfg.json", "sae.safetensors")])
    assert told(found) == [
        ("layers.2", 2, "hook_resid_post", None, None),
        ("layers.2.mlp", 2, "hook_mlp_out", None, None),
        ("layers.2.self_attn", 2, "hook_attn_out", None, None),
        ("run/h.3", 3, "hook_resid_post", None, None),
        ("transformer.h.4.mlp", 4, "hook_mlp_out", None, None),
        ("layers.12", 12, "hook_resid_post", None, None),
    ]
    assert {sae.format for sae in found} == {"sparsify"}


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        # canrager/saebench_gemma-2-2b_width-2pow14_date-1109, andyrdt/saes-qwen2.5-7b-instruct, saprmarks'
        ("gemma-2-2b_topk_width-2pow14_date-1109/resid_post_layer_12/trainer_3", (12, "hook_resid_post", 16_384)),
        (
            "gemma-2-2b_topk_width-2pow14_date-1109/resid_post_layer_5_checkpoints/trainer_5_step_46322",
            (5, "hook_resid_post", 16_384),
        ),
        ("resid_post_layer_27/trainer_1", (27, "hook_resid_post", None)),
        ("mlp_out_layer0/10_32768", (0, "hook_mlp_out", 32_768)),
        ("attn_out_layer3/10_32768", (3, "hook_attn_out", 32_768)),
    ],
)
def test_dictionary_learning_tells_the_place_by_the_submodule(
    folder: str, expected: tuple[int, str, int | None]
) -> None:
    [found] = find_saes([f"{folder}/ae.pt", f"{folder}/config.json", f"{folder}/eval_results.json"])
    assert (found.layer, found.hook_point, found.width) == expected
    assert found.format == "dictionary_learning"
    assert found.files == (f"{folder}/config.json", f"{folder}/ae.pt")


def test_trainers_are_counted_and_not_spelled() -> None:
    folders = [f"resid_post_layer_4/trainer_{number}" for number in (10, 9, 1)]
    found = find_saes([f"{folder}/{name}" for folder in folders for name in ("ae.pt", "config.json")])
    assert [sae.path for sae in found] == [f"resid_post_layer_4/trainer_{number}" for number in (1, 9, 10)]


@pytest.mark.parametrize(
    "paths",
    [
        ["blocks.0.hook_resid_post/sae_weights.safetensors"],
        ["layers.3/sae.safetensors", "cfg.json"],
        ["trainer_0/ae.pt"],
        ["checkpoints/final.safetensors"],
        ["model.safetensors", "config.json", "cfg.json", "params.npz.txt", "my_params.npz"],
        [],
    ],
)
def test_what_lacks_its_configuration_is_no_sae(paths: list[str]) -> None:
    assert find_saes(paths) == []


def test_a_folder_on_disk_is_listed_as_a_repository_is(tmp_path: Path) -> None:
    root = tmp_path / "gemma-scope-2b-pt-mlp"
    write(root, ["layer_3/width_16k/average_l0_50/params.npz", *saelens("own/blocks.1.hook_mlp_out")])
    assert told(list_folder(root)) == [
        ("own/blocks.1.hook_mlp_out", 1, "hook_mlp_out", None, None),
        ("layer_3/width_16k/average_l0_50", 3, "hook_mlp_out", 16_384, 50),
    ]
    [found] = list_folder(root / "own/blocks.1.hook_mlp_out")
    assert told([found]) == [("", 1, "hook_mlp_out", None, None)]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(outside, saelens("blocks.0.hook_resid_post"))
    write(root, saelens("blocks.1.hook_resid_post"))
    (root / "away").symlink_to(outside, target_is_directory=True)
    (root / "round").symlink_to(root, target_is_directory=True)
    (root / "blocks.2.hook_resid_post").mkdir()
    for name in ("cfg.json", "sae_weights.safetensors"):
        (root / "blocks.2.hook_resid_post" / name).symlink_to(outside / "blocks.0.hook_resid_post" / name)
    assert [sae.path for sae in list_folder(root)] == ["blocks.1.hook_resid_post"]


def test_a_link_inside_the_folder_counts(tmp_path: Path) -> None:
    write(tmp_path, ["store/weights", "sae/blocks.1.hook_resid_post/cfg.json"])
    (tmp_path / "sae/blocks.1.hook_resid_post/sae_weights.safetensors").symlink_to(tmp_path / "store/weights")
    assert [sae.path for sae in list_folder(tmp_path)] == ["sae/blocks.1.hook_resid_post"]


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_FILES", 3)
    write(tmp_path, [f"file{number}" for number in range(4)])
    with pytest.raises(TooManyFiles, match="more than 3 files: name the folder of the SAE"):
        list_folder(tmp_path)


def test_folders_beyond_the_depth_are_not_searched(tmp_path: Path) -> None:
    deep = "/".join("abcdefgh")
    write(tmp_path, [*saelens(deep), *saelens(f"{deep}/i")])
    assert [sae.path for sae in list_folder(tmp_path)] == [deep]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoSuchFolder, match="nowhere is not a folder") as refused:
        list_folder(tmp_path / "nowhere")
    assert refused.value.status == 404


def test_a_repository_is_listed_by_one_request_and_no_download(tmp_path: Path, settings: Settings) -> None:
    repo_id = "google/gemma-scope-2b-pt-res"
    write(tmp_path / repo_id, [f"layer_{layer}/width_16k/average_l0_7{layer}/params.npz" for layer in range(3)])
    with hub_server(tmp_path) as server:
        settings.HF_ENDPOINT, settings.HF_HUB_CACHE = server.url, tmp_path / "cache"
        found = list_repository(repo_id, "main")
        assert [(asked.method, asked.path) for asked in server.log] == [
            ("GET", "/api/models/google/gemma-scope-2b-pt-res/revision/main")
        ]
    close_session()
    assert [(sae.layer, sae.sparsity) for sae in found] == [(0, 70), (1, 71), (2, 72)]


def write(root: Path, paths: list[str]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "saelens": ("blocks.3.hook_resid_post", sae_files.write_saelens),
    "mistudio": ("blocks.5.hook_resid_post", sae_files.write_mistudio),
    "gemma_scope": ("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", sae_files.write_gemma_scope),
    "gemma_scope 2": ("gemma-scope-2-1b-pt/resid_post/layer_13_width_16k_l0_small", sae_files.write_gemma_scope_2),
    "llama_scope": ("Llama3_1-8B-Base-L15R-8x", sae_files.write_llama_scope),
    "sparsify": ("layers.12", sae_files.write_sparsify),
    "dictionary_learning": ("resid_post_layer_3/trainer_0", sae_files.write_dictionary_learning),
}
RENAMED = {
    "llama_scope, pruned": ("llama_scope", "checkpoints/final.safetensors", "checkpoints/pruned.safetensors"),
    "llama_scope, as SAELens": ("llama_scope", "checkpoints/final.safetensors", "sae_weights.safetensors"),
}


def test_every_layout_has_a_writer_here() -> None:
    written = {"pruned": 1, "as SAELens": 1, "vector sets, in test_vector_sets.py": 3}
    assert len(LAYOUTS) == len(WRITERS) - 1 + sum(written.values())  # miStudio's is SAELens'


@pytest.mark.parametrize("name", [*WRITERS, *RENAMED])
def test_what_is_found_can_be_read_and_what_can_be_read_is_found(tmp_path: Path, name: str) -> None:
    writer, *renamed = RENAMED.get(name, (name,))
    path, write = WRITERS[writer]
    write(tmp_path / path)
    if renamed:
        (tmp_path / path / renamed[0]).rename(tmp_path / path / renamed[1])
    [found] = list_folder(tmp_path)
    config = read_config(tmp_path / found.path)
    assert found.format == {"mistudio": "saelens"}.get(config.format, config.format)
    assert config.weights == tmp_path / found.files[-1]
    assert (found.layer, found.hook_point) == (config.layer, config.hook_point)
    for missing in found.files:
        (tmp_path / missing).rename(tmp_path / "elsewhere")
        assert list_folder(tmp_path) == []
        with pytest.raises(UnreadableSAE):
            read_config(tmp_path / found.path)
        (tmp_path / "elsewhere").rename(tmp_path / missing)


def test_a_folder_that_two_formats_could_read_is_found_as_the_one_that_reads_it(tmp_path: Path) -> None:
    sae_files.write_llama_scope(tmp_path)
    sae_files.write_saelens(tmp_path)
    [found] = list_folder(tmp_path)
    assert (found.format, read_config(tmp_path).format) == ("saelens", "saelens")


@pytest.mark.parametrize("source", ["{}", "{}/", "file-link"])
def test_an_error_names_a_folder_once(tmp_path: Path, source: str) -> None:
    folder = sae_files.write_gemma_scope(tmp_path / "copied")
    with pytest.raises(UnreadableSAE) as error:
        read_config(folder, path=source.format(folder))
    assert str(error.value).count("copied") == 1
