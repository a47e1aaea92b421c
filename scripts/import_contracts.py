"""The ``lint-imports`` contract that keeps the private modules of a feature private.

import-linter's own contracts know layers. This contract knows the private modules of a feature: its
SQL, its routes, its jobs. Other features use the remaining modules, above all ``service``.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PrivateModules(Contract):  # type: ignore[misc]
    """The contract: no feature imports a private module of another feature."""

    features = fields.SetField(subfield=fields.StringField())
    private = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Report every direct import of a private module from outside its feature."""
        broken = [
            (importer, imported)
            for imported in sorted(graph.modules)
            if self._is_private(imported)
            for importer in sorted(graph.find_modules_that_directly_import(imported))
            if _feature(importer) in self.features and _feature(importer) != _feature(imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import."""
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"- {importer} -> {imported}: use its service.", bold=False)

    def _is_private(self, module: str) -> bool:
        name = module.rpartition(".")[2]
        is_inside = name in self.private or name.endswith(("_queries", "_routes"))
        return _feature(module) in self.features and is_inside


def _feature(module: str) -> str:
    """Return the second part of ``neurant.<feature>.…``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""
