"""A user's modules: taken as they stand when a run begins, and loaded wherever its hosts are."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType

import msgspec

from apwa.capabilities.functions import UserFunction, functions_of
from apwa.vocabulary import Misuse

_MOST_BYTES = 20 << 20
_LEFT_OUT = {"__pycache__"}


class UserModule(msgspec.Struct, frozen=True):
    """A module's files as they were.

    Attributes:
        name: The module's name.
        files: Content by path: ``NAME.py`` alone, or all files below ``NAME/``.
    """

    name: str
    files: dict[str, bytes]

    @property
    def version(self) -> str:
        """Names the content."""
        digest = hashlib.blake2b(digest_size=8)
        for path, content in sorted(self.files.items()):
            digest.update(f"{path}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()


def pack_module(path: Path) -> UserModule:
    """Take a module: a ``.py`` file, or the folder of a package. Raises Misuse if it is none."""
    name = path.name.removesuffix(".py")
    if path.is_dir():
        if not (path / "__init__.py").is_file():
            raise Misuse("the folder is no package: it has no __init__.py", str(path))
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and _is_part(p, path)]
    elif path.is_file() and path.suffix == ".py":
        found = [path]
    else:
        what = "this is no Python module" if path.exists() else "there is no such module"
        raise Misuse(what, str(path), "Name a .py file, or the folder of a package.")
    if not name.isidentifier():
        raise Misuse(f"{name!r} is no name of a module", str(path))
    size = sum(p.stat().st_size for p in found)
    if size > _MOST_BYTES:
        raise Misuse(f"the module has {size:,} bytes, at most {_MOST_BYTES:,}", str(path))
    try:
        return UserModule(
            name, {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in found}
        )
    except OSError as error:
        raise Misuse(f"the module cannot be read: {error.strerror}", str(path)) from error


def write_module(module: UserModule, folder: Path) -> None:
    """Write a module's files below a folder."""
    for name, content in module.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Misuse(f"{name!r} leads out of its folder", f"module {module.name}")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content)


def load_module(module: UserModule) -> list[UserFunction]:
    """Import a module, and give its capabilities.

    It is imported under a name of its own, so that another version of it, or an installed module
    of that name, may be there too. Raises Misuse for one that does not load or has none.
    """
    name = f"apwa_module_{module.version}_{module.name}"
    loaded = sys.modules.get(name) or _import(name, module, _placed(module))
    found = functions_of(vars(loaded), module.version, f"module {module.name}")
    if not found:
        raise Misuse(
            "the module has no capabilities", module.name, "Mark functions with @apwa.capability."
        )
    return found


def _is_part(path: Path, base: Path) -> bool:
    parts = path.relative_to(base).parts
    return not any(part.startswith(".") or part in _LEFT_OUT for part in parts)


def _placed(module: UserModule) -> Path:
    """The module's files on this machine's disk; each version is written once a machine."""
    base = Path(tempfile.gettempdir()) / f"apwa-modules-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    about = base.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or base.is_symlink():
        raise Misuse("the folder is not this user's alone", str(base), "Remove it.")
    folder = base / module.version
    if not folder.is_dir():
        begun = base / f".{module.version}.{secrets.token_hex(4)}"
        write_module(module, begun)
        try:
            begun.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(begun)
    return folder


def _import(name: str, module: UserModule, folder: Path) -> ModuleType:
    package = folder / module.name / "__init__.py"
    is_package = package.is_file()
    spec = importlib.util.spec_from_file_location(
        name,
        package if is_package else folder / f"{module.name}.py",
        submodule_search_locations=[str(package.parent)] if is_package else None,
    )
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    try:
        spec.loader.exec_module(made)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise Misuse(
            f"the module does not load: {type(error).__name__}: {error}",
            _place_of(error, module, folder),
        ) from error
    return made


def _place_of(error: Exception, module: UserModule, folder: Path) -> str:
    """The last place in the module itself that an error went through."""
    if isinstance(error, SyntaxError) and error.filename:
        file, line = Path(error.filename), error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if Path(f.filename).is_relative_to(folder)]
        if not own:
            return f"module {module.name}"
        file, line = Path(own[-1].filename), own[-1].lineno
    shown = file.relative_to(folder) if file.is_relative_to(folder) else file
    return f"{shown}, line {line}"
