"""What counts as a secret."""

import pytest

from roost.config.masking import is_secret_name, is_secret_path, mask_words


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apiKey",
        "API_KEYS",
        "HF_TOKEN",
        "KEY",
        "DB_PASSWORD",
        "CLIENT_SECRET_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AUTH",
    ],
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "keep_alive", "monkey", "KEYBOARD", "CUDA_VISIBLE_DEVICES", "author"])
def test_harmless_names(name: str) -> None:
    assert not is_secret_name(name)


def test_paths() -> None:
    assert is_secret_path(("server", "keys", 0, "key"))
    assert is_secret_path(("server", "keys", 0))
    assert is_secret_path(("models", "a", "env", "HF_TOKEN"))
    assert is_secret_path(("defaults", "env", "HF_TOKEN"))
    assert is_secret_path(("macros", "api_key"))
    assert not is_secret_path(("server", "keys", 0, "name"))
    assert not is_secret_path(("models", "api_key", "port"))


def test_command_lines() -> None:
    words = ("serve", "--api-key", "s1", "--hf-token=s2", "--max-tokens", "5", "--port", "1", "--token")
    assert mask_words(words) == (
        "serve",
        "--api-key",
        "***",
        "--hf-token=***",
        "--max-tokens",
        "5",
        "--port",
        "1",
        "--token",
    )
