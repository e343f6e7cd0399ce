"""The engine on vLLM (https://docs.vllm.ai): vLLM's batching and kernels, with a steering of its own for every request.

From outside: `engine`, `arguments`. It needs an environment of its own (requirements-vllm.txt); the transformers engine
is in `inference.engine`, of which this package takes the parts that are about texts, SAEs and steerings, not about
transformers' batching.

vLLM runs the model in processes of its own, one for each GPU, each with a `worker.SteeredWorker`.
"""
