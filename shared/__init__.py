"""What the functions share: flat modules with one job each. Knows neither the triggers nor the local rig."""
