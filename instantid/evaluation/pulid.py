"""PuLID's protocol, so that its published tables can be put beside a run (Guo et al., arXiv 2404.16022v2).

Table 7's prompts for CLIP-T and CLIP-I, one more for the likeness (section 7.4), four pictures of each. What differs
here is told in the report: the face encoder (theirs was CurricularFace), the CLIP model, and the people.
"""

from dataclasses import dataclass

FACE_PROMPT = "portrait, color, cinematic, in garden, soft light, detailed face"
PROMPTS = (
    "portrait, a person wearing a spacesuit",
    "portrait, a person wearing a surgical mask",
    "portrait, a person wearing an eye mask",
    "portrait, a person wearing headphones with red hair",
    "portrait, a person wearing a doctoral cap",
    "portrait, a person cooking in the kitchen",
    "portrait, a person coding in front of a computer",
    "portrait, a young child laughing at the camera",
    "portrait, an angry person,old",
    "portrait, color,side view",
    "portrait, with a beautiful purple sunset at the beach in the background",
    "portrait, pencil drawing",
    "portrait,3D Animation, Disney style,cute,popmart blindbox",
    "portrait, kawaii style, cute, adorable, brightly colored, cheerful, anime influence, highly detailed",
    "portrait,latte art in a cup",
    "portrait, side view, in papercraft style",
    "portrait, a garden gnome, in papercraft sketch, wearing a glasses",
    "portrait, Madhubani, wearing a mask",
    "portrait, Ukiyo-e Painting style, playing the violin",
    "portrait of green-skinned shrek, wearing lacoste purple sweater",
)
PICTURES = 4
STRENGTH = 0.8  # of InstantID there


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of the paper's tables: means on DivID-120 and on Unsplash-50, without intervals."""

    method: str
    base: str
    divid: tuple[float, float, float]
    unsplash: tuple[float, float, float]


SOURCE = "PuLID, arXiv 2404.16022v2, tables 1 and 6: Face Sim. (CurricularFace), CLIP-T, CLIP-I"
TABLE = (
    Published(
        method="PhotoMaker", base="SDXL base", divid=(0.271, 26.06, 0.649), unsplash=(0.193, 27.38, 0.692)
    ),
    Published(
        method="IP-Adapter FaceID",
        base="SDXL-Lightning",
        divid=(0.619, 28.36, 0.703),
        unsplash=(0.615, 28.71, 0.701),
    ),
    Published(
        method="InstantID", base="SDXL-Lightning", divid=(0.725, 28.72, 0.680), unsplash=(0.614, 30.55, 0.736)
    ),
    Published(
        method="PuLID", base="SDXL-Lightning", divid=(0.733, 31.31, 0.812), unsplash=(0.659, 32.16, 0.840)
    ),
    Published(
        method="IP-Adapter FaceID",
        base="SDXL base",
        divid=(0.597, 29.39, 0.720),
        unsplash=(0.572, 30.03, 0.749),
    ),
    Published(
        method="InstantID", base="SDXL base", divid=(0.755, 25.33, 0.608), unsplash=(0.648, 26.41, 0.649)
    ),
    Published(method="PuLID", base="SDXL base", divid=(0.722, 30.69, 0.781), unsplash=(0.654, 31.23, 0.813)),
)
