"""What the page says, and the values it starts from where those are the reference demo's own."""

FOLLOW_PHOTO = "Follow the photo"
CHOSEN_SIZE = "Choose width and height"

# The reference demo's (gradio_demo/app-multicontrolnet.py at 2145b67), where they differ from Request's.
# A value that this bundle cannot do falls to the first that it can.
STARTS = {"style": "Watercolor", "scheduler": "Euler", "controls": "pose", "control_strength": 0.40}

LABELS = {
    "people": "Face photos",
    "pose_image": "Pose photo (optional)",
    "prompt": "Prompt",
    "style": "Style",
    "style_image": "Style picture (optional)",
    "style_strength": "Style picture strength",
    "identity_strength": "IdentityNet strength (for fidelity)",
    "adapter_strength": "Image adapter strength (for detail)",
    "face_region": "Enhance non-face region",
    "controls": "Extra ControlNets",
    "negative_prompt": "Negative prompt",
    "steps": "Steps",
    "guidance_scale": "Guidance scale (CFG)",
    "scheduler": "Scheduler",
    "seed": "Seed",
    "width": "Width",
    "height": "Height",
    "images": "Pictures",
}

CONTROL_INFOS = {
    "pose": "Body pose: limbs and head.",
    "canny": "Outlines: holds the photo's edges.",
    "depth": "Depth: holds what is near and far.",
}

FACE_HINT = "One clear photo is enough; several of the same person are averaged."
POSE_HINT = "Sets where the face goes and how it turns. Without one, the first face photo does."

STYLE_HINT = "The new picture follows its colours and brushwork, not its content."

TIPS = """
- **Not like the person?** Raise *IdentityNet strength* first, then *Image adapter strength*; or use a larger,
  sharper photo, or add a second one.
- **Prompt ignored?** Lower *Image adapter strength*, then *IdentityNet strength*.
- **Colours burnt or too strong?** Lower *Guidance scale* to 3–4, then *Image adapter strength*.
- **Face too small or turned wrong?** The face takes its place, size and angle from the pose photo:
  choose one with a larger face, turned the way you want.
- **Want a full scene?** Keep *Enhance non-face region* on: the face then leaves the rest to the prompt.
- **What is likeness?** The new face compared with your photo: 1 is the same, about 0 a stranger.
- **Found one you like?** *Use this seed* keeps it while you change one thing at a time.
"""
