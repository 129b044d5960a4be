"""What pyproject.toml cannot say: which folders become packages under another name.

``sites/`` and ``templates/`` stand at the top of the repository, where people look for them,
and are shipped inside the package, where an installed exa finds them
(``exa_cli/base/resources.py``). ``exa_kernels`` stands beside its native sources.
"""

from setuptools import find_namespace_packages, setup

TEMPLATES = {
    f"exa_cli._templates.{name}": f"templates/{name}"
    for name in find_namespace_packages("templates")
}

setup(
    packages=[
        *find_namespace_packages(include=["exa_cli", "exa_cli.*", "exa_train", "exa_train.*"]),
        *find_namespace_packages("kernels", include=["exa_kernels", "exa_kernels.*"]),
        "exa_cli._sites",
        *TEMPLATES,
    ],
    package_dir={
        "exa_cli._sites": "sites",
        "exa_kernels": "kernels/exa_kernels",
        **TEMPLATES,
    },
    package_data={
        "exa_cli._sites": ["*.toml", "elsewhere/*.toml"],
        **{name: ["*.j2"] for name in TEMPLATES},
    },
)
