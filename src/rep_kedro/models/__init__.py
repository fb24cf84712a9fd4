"""Networks: architectures as data, model sources, layer access, receptive geometry and cost."""
