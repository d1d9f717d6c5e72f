"""Checks that the packages of the extras are installed before a run begins."""

from collections.abc import Sequence
from importlib import import_module

from ._command_result import refuse

# What a run and its report need; what the testbed needs besides. Module -> package, where the names differ.
RUN = ("pyarrow", "jinja2", "PIL")
TESTBED = ("skimage", "sklearn", "safetensors")
_PACKAGES = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}


def require_packages(command: str, modules: Sequence[str]) -> None:
    """Refuses to begin where packages are missing; names all of them and what installs them."""
    missing = []
    for module in modules:
        try:
            import_module(module)
        except ImportError:
            missing.append(_PACKAGES.get(module, module))
    if missing:
        refuse(f"{command}: {', '.join(missing)} cannot be imported; pip install 'saliency_ext[study,report]'")
