"""Open weights without servers: models whose answers come from engines that actors on a Ray cluster hold.

`model` is what contestants and judges ask, `pool` has the engines of one set of weights, `holder` is an engine's actor,
and `vllm_engine` the engine that it holds by default. Nothing of Ray or vLLM is imported before it is asked for.
"""
