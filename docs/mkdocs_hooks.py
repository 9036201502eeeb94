"""Lays the site out as the repository is, so that every link works on GitHub and in the site.

README.md becomes the home page. A page of `docs/` keeps its folder, and so does every file outside
it that a page shows or links to. A link to a folder leads to the README.md above it.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES_OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")
STYLE = "docs/site.css"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces the files of `docs/` by those of the repository that belong to the site."""
    for file in list(files.documentation_pages()) + list(files.media_files()):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    pages = [*PAGES_OUTSIDE, *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
    linked = {link for page in pages for link in _files_linked(page)}
    for name in sorted({*pages, *linked, STYLE}):
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links to folders at the README.md above the folder."""

    def readme(link: re.Match) -> str:
        target = _target(page.file.src_uri, link[1])
        if not target.is_dir():
            return link[1]
        while not files.get_file_from_path(str((target / "README.md").relative_to(ROOT))):
            target = target.parent
        return os.path.relpath(target / "README.md", _folder(page.file.src_uri))

    return LINK.sub(readme, markdown)


def _files_linked(page: str) -> set[str]:
    links = LINK.findall((ROOT / page).read_text("utf-8"))
    targets = [_target(page, link) for link in links]
    return {str(target.relative_to(ROOT)) for target in targets if target.is_file()}


def _target(page: str, link: str) -> Path:
    return (_folder(page) / link).resolve()


def _folder(page: str) -> Path:
    return (ROOT / page).parent
