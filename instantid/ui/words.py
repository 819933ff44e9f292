"""What the page says, and the values it starts from where those are the reference demo's own."""

FOLLOW_PHOTO = "Follow the photo"
CHOSEN_SIZE = "Choose width and height"
NO_RECIPE = "(None)"

# The reference demo's (gradio_demo/app-multicontrolnet.py at 2145b67).
START_STYLE = "Watercolor"

LABELS = {
    "people": "Face photos",
    "pose_image": "Pose photo (optional)",
    "free_pose": "Free pose",
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "style": "Style",
    "style_image": "Style picture (optional)",
    "style_mode": "What is taken from it",
    "style_strength": "Style picture strength",
    "layout_image": "Layout picture (optional)",
    "style_content": "Content to leave out",
    "style_content_strength": "How much of it is left out",
    "identity_strength": "IdentityNet strength (for fidelity)",
    "adapter_strength": "Image adapter strength (for detail)",
    "faceid_strength": "FaceID strength (another adapter for the face)",
    "face_region": "Enhance non-face region",
    "controls": "Extra ControlNets",
    "start_image": "Start picture (optional)",
    "start_strength": "Start picture: how much changes",
    "repaint": "What is painted anew",
    "repaint_mask": "Mask",
    "recipe": "Few-step recipe",
    "steps": "Steps",
    "guidance_scale": "Guidance scale (CFG)",
    "scheduler": "Scheduler",
    "seed": "Seed",
    "width": "Width",
    "height": "Height",
    "images": "Pictures",
    "upscale": "Upscale",
    "upscale_strength": "Upscale: how much changes",
    "upscale_by": "Upscale by",
    "face_detail": "Face detail",
    "face_detail_strength": "Face detail: how much changes",
    "cfg_rescale": "CFG rescale",
    "negative_noise": "Noise in the negative face",
    "perturbed_negative": "Noise in the negative prompt",
    "off_size": "A size off 1024 × 1024",
    "loras": "LoRAs",
    "textual_inversions": "Textual inversions",
    "base": "Checkpoint",
    "vae": "VAE",
}

CONTROL_LABELS = {
    "strength": "strength",
    "start": "from",
    "end": "until",
    "map": "ready map (optional)",
    "low": "Canny: low threshold",
    "high": "Canny: high threshold",
}
CONTROL_INFOS = {
    "pose": "Body pose: limbs and head.",
    "canny": "Outlines: holds the photo's edges.",
    "depth": "Depth: holds what is near and far.",
}

POSE_HINT = "Sets where the face goes and how it turns. Without one, the face photo does."
STYLE_HINT = "The new picture follows its colours and brushwork, or what is chosen below."
LAYOUT_HINT = "The new picture follows its arrangement; the style picture then gives style only."
START_HINT = "The run starts from this picture instead of from noise, and keeps its shape."
MAP_HINT = "Used as it is, instead of a map read off the pose photo."
MAP_NEEDED = "Nothing here reads this map off a photo: upload a ready one."
WEIGHTS_HINT = (
    "Weights stay on for one run and leave no trace in the next. Only .safetensors: other formats can carry "
    "programs."
)

TIPS = """
- **Not like the person?** Under *Likeness*, raise *IdentityNet strength* first, then *Image adapter strength*; or
  use a larger, sharper photo, or add a second one.
- **Prompt ignored?** Lower *Image adapter strength*, then *IdentityNet strength*.
- **Colours burnt or too strong?** Lower *Guidance scale* (SDXL: to 3–4), then *Image adapter strength*. *Quality* has
  remedies for what is left.
- **Face too small or turned wrong?** The face takes its place, size and angle from the pose photo:
  choose one with a larger face, turned the way you want. *Face detail* repairs small ones.
- **Want a full scene?** Keep *Enhance non-face region* on: the face then leaves the rest to the prompt.
- **What is likeness?** The new face compared with your photo: 1 is the same, about 0 a stranger.
- **Found one you like?** *Use this seed* keeps it while you change one thing at a time; *Use as start picture*
  goes on from it.
"""
