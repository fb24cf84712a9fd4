"""Where networks come from: trained here, timm, torchvision, open_clip, or a checkpoint file; one file each.

Each file has `resolve_preprocessing(spec)`, `identify_weights(spec)` (facts for the recipe) and
`build(spec, *, with_weights)`.
"""
