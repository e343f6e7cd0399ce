"""Setups that a load or an unload ended: kept by `models.Setup`, restored by `switch`."""
