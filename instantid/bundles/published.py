"""The published weights: every part of the `sdxl` bundle by repository and file, and what its licence allows.

Data only. Commits are not written here: the first fetch records them in a lock file.
"""

_NO_SMALL_PRINT = "See the model card for its terms."
_INSTANTID = (
    "research only, says InstantID's README (its model card is tagged apache-2.0): the checkpoints build on "
    "insightface's models, which are for non-commercial research."
)
_HYPER = f"Not stated by a tag (in April 2024 it said openrail++). {_NO_SMALL_PRINT}"
_SDXL = "CreativeML Open RAIL++-M: use-based restrictions, to be passed on."

SDXL = {
    "name": "sdxl",
    "base": "wangqixun/YamerMIX_v8",
    "base_config": "stabilityai/stable-diffusion-xl-base-1.0",  # for checkpoints of one file; fetched without weights
    "identitynet": "InstantX/InstantID/ControlNetModel",
    "identity_adapter": "InstantX/InstantID/ip-adapter.bin",
    # A mirror of insightface's antelopev2.zip, whose own address was lost for a while (InstantID#38). Of
    # the pack's other three models, genderage alone is read: it guesses ages, for advice on photos.
    "faces": {
        "kind": "insightface",
        "path": "DIAMONIK7777/antelopev2/{scrfd_10g_bnkps.onnx,glintr100.onnx,genderage.onnx}",
    },
    "vae": "madebyollin/sdxl-vae-fp16-fix",
    "previewer": "madebyollin/taesdxl",
    "controlnets": {
        "pose": "thibaud/controlnet-openpose-sdxl-1.0",
        "canny": "diffusers/controlnet-canny-sdxl-1.0-small",
        "depth": "diffusers/controlnet-depth-sdxl-1.0-small",
    },
    "annotators": {
        "pose": "lllyasviel/Annotators/{body_pose_model.pth}",
        "depth": "depth-anything/Depth-Anything-V2-Small-hf",
    },
    "loras": {
        "lcm": "latent-consistency/lcm-lora-sdxl/pytorch_lora_weights.safetensors",
        "lightning-4": "ByteDance/SDXL-Lightning/sdxl_lightning_4step_lora.safetensors",
        "lightning-8": "ByteDance/SDXL-Lightning/sdxl_lightning_8step_lora.safetensors",
        "hyper-4": "ByteDance/Hyper-SD/Hyper-SDXL-4steps-lora.safetensors",
        "hyper-8": "ByteDance/Hyper-SD/Hyper-SDXL-8steps-CFG-lora.safetensors",
        "dmd2": "tianweiy/DMD2/dmd2_sdxl_4step_lora_fp16.safetensors",
    },
    "style_adapter": "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors",
    "image_encoder": "h94/IP-Adapter/sdxl_models/image_encoder",
    "faceid_adapter": "h94/IP-Adapter-FaceID/ip-adapter-faceid_sdxl.bin",
    # A mirror of the two files of insightface's buffalo_l.zip that are read, 191 MB of its 326.
    "faceid_faces": {
        "kind": "insightface",
        "path": "public-data/insightface/models/buffalo_l/{det_10g.onnx,w600k_r50.onnx}",
    },
    "licences": {
        "base": f"MIT by its tag; a merge of SDXL models, so read it together with {_SDXL}",
        "base_config": _SDXL,
        "identitynet": _INSTANTID,
        "identity_adapter": _INSTANTID,
        "faces": "insightface antelopev2: non-commercial research only.",
        "vae": "MIT.",
        "previewer": "MIT.",
        "controlnets.pose": f"“other” by its tag. {_NO_SMALL_PRINT}",
        "controlnets.canny": _SDXL,
        "controlnets.depth": _SDXL,
        "annotators.pose": f"OpenPose's body model: CMU, non-commercial research only. {_NO_SMALL_PRINT}",
        "annotators.depth": "Apache-2.0 (Small; the larger ones are not).",
        "loras.lcm": _SDXL,
        "loras.lightning-4": _SDXL,
        "loras.lightning-8": _SDXL,
        "loras.hyper-4": _HYPER,
        "loras.hyper-8": _HYPER,
        "loras.dmd2": "CC BY-NC 4.0 by its tag (its code: CC BY-NC-SA 4.0): non-commercial use only.",
        "style_adapter": "Apache-2.0.",
        "image_encoder": "Apache-2.0.",
        "faceid_adapter": "research only, says its model card: it builds on insightface's models.",
        "faceid_faces": "insightface buffalo_l: non-commercial research only.",
    },
}

BASES = {
    "yamermix": {"base": SDXL["base"], "licence": SDXL["licences"]["base"]},
    "realvisxl": {"base": "SG161222/RealVisXL_V5.0", "licence": _SDXL},
    "sdxl-base": {"base": "stabilityai/stable-diffusion-xl-base-1.0", "licence": _SDXL},
}
"""What `open_bundle("sdxl:<name>")` swaps in; plain "sdxl" is the reference's choice, YamerMIX."""

UNION = {"source": "xinsir/controlnet-union-sdxl-1.0", "licence": "Apache-2.0."}
"""What `open_bundle("sdxl+union")` takes in the three single ControlNets' place. A loader finds the plain weights
there; the repository's promax ones have names of their own, and are not fetched."""
