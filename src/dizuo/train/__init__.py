"""Models made here: one stage a module, one loop, recipes as YAML."""
