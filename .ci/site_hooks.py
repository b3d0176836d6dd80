"""Hooks of mkdocs (mkdocs.yml): the model card is in the package, and the site shows it as a page."""

from pathlib import Path

from mkdocs.structure.files import File

CARD = "src/ns2_diffusers/bundled_model/README.md"
PAGE = "model_card.md"


def on_files(files, config):
    files.append(File.generated(config, PAGE, abs_src_path=str(Path(config.config_file_path).parent / CARD)))
    return files


def on_page_markdown(markdown, page, config, files):
    return markdown.replace(f"../{CARD}", PAGE)
