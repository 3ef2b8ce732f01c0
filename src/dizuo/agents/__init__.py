"""Agents: a goal in, a journalled run of model and tool calls out."""
