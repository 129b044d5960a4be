from kit import exa, prepared

__all__ = ["exa", "prepared"]
