"""Reading LiFePO4 battery packs; knows nothing of Home Assistant."""
