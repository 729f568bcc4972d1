"""Word tables for segmentation: abbreviations, sentence openers, connectives. Data only."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- Arabic ---------------------------------------------------------------------------------
# Single letters («د.») and letters joined by stops («أ.ف.ب.») are recognised by their form.

ARABIC_ABBREVIATIONS = _words("تلف مج تح دبليو")

# A letter after one of these names a thing and may end a sentence: «المجموعة ب.», «فيتامين د.»
ARABIC_LABELS = _words(
    "المجموعة مجموعة الفئة فئة القسم قسم فيتامين الفيتامين الملحق ملحق النموذج نموذج الخطة خطة "
    "المستوى مستوى الفقرة البند الصف القاعة الجزء النقطة الجدول الفرع المنطقة"
)

# Words that open a sentence in running prose and are no part of a name: they show that the
# abbreviation before them was also the end of its sentence.
ARABIC_OPENERS = _words(
    "وقال وقالت وأضاف وأضافت وأكد وأكدت وأشار وأشارت وأوضح وأوضحت وذكر وذكرت وكان وكانت وتابع "
    "وتابعت ولفت ولفتت وأعلن وأعلنت وجاء وجاءت ويأتي وتأتي ويذكر ومن وفي وهو وهي وقد ولكن ولم "
    "ولا كما غير لكن لذلك لهذا ثم"
)

# A verb of saying right after a closing quotation mark continues the sentence of the quotation.
ARABIC_SAYING = _words(
    "قال قالت قالوا يقول تقول سأل سألت يسأل تسأل تساءل تساءلت صرخ صرخت هتف هتفت أجاب أجابت رد "
    "ردت أضاف أضافت همس همست صاح صاحت علق علقت أردف أردفت قائلا قائلاً قائلًا قائلة هكذا"
)

# --- English (matched without the last full stop) ---------------------------------------------

ENGLISH_TITLES = _words(
    "Mr Mrs Ms Mx Dr Drs Prof Profs Sens Reps Gens Det Dist Rev Fr Gen "
    "Col Maj Capt Cmdr Lt Sgt Cpl Adm Brig Sen Rep Gov Hon Pres Messrs Amb Supt Insp Mt Ft"
)
ENGLISH_NEVER_LAST = _words("e.g i.e eg ie vs v cf viz approx ca incl esp resp")
ENGLISH_BEFORE_NUMBER = _words(
    "no nos p pp vol vols fig figs sec ch chap art para par eq ed nr op jan feb mar apr jun jul "
    "aug sep sept oct nov dec mon tue tues wed thu thur thurs fri"
)
# These do end sentences, but only before a word of ENGLISH_OPENERS can we be sure.
ENGLISH_MAYBE_LAST = _words("Inc Ltd Co Corp Bros Jr Sr Esq St Ave Blvd Rd Dept Univ al")
ENGLISH_OPENERS = _words(
    "The This That These Those He She It They We You His Her Its Their Our My There Here In On "
    "At As By For From With After Before When While If Although Though Because Since And But Or "
    "So Yet Then However Moreover Meanwhile Also A An Both Some Many Most Such No Not What Who "
    "Why How Where Which"
)
# After "5 p.m." a capital opens a sentence unless it is one of these.
ENGLISH_AFTER_HOUR = _words(
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May "
    "June July August September October November December Eastern Central Pacific Mountain GMT "
    "UTC EST EDT CST CDT PST PDT BST CET Cairo Beirut Riyadh Dubai London"
)
ENGLISH_SAYING = _words(
    "said says asked asks replied answered shouted cried added wrote told exclaimed wondered "
    "whispered yelled declared demanded"
)

# --- Where a long sentence may be cut ---------------------------------------------------------

# A conjunction «و» is written onto its word; these words only look as if they had one.
ARABIC_WAW_WORDS = _words(
    "واحد واحدة واحدا واحداً وحيد وحيدة وحده وحدها وحدة وحدات وزير وزيرة وزيرا وزراء وزارة "
    "وزارات وزاري وزارية وزن وزنه وقت وقتا وقتاً وقته وقتها وقف وقفة وقوع وقوف وقائع وقائية "
    "وقاية وقود وسط وسطى وسيط وسيطة وسيلة وسائل وساطة وسام وطن وطني وطنية وطنيا وفد وفود وفاة "
    "وفيات وفاء وفق وفقا وفقاً وفاق وصول وصوله وصل وصلت وصلوا وصف وصفت وصفة وصاية وضع وضعت وضعه "
    "وضعها وضوح وضعية ولاية ولايات ولي ولاء ولادة ولد ولدت وكالة وكالات وكيل ورقة ورق ورش ورشة "
    "وراء وراثة وراثية ورثة وجود وجودها وجوده وجه وجهة وجهت وجها وجوه وجبة وجبات وجدت والد "
    "والدة والده والدته والدها والدتها والي واشنطن واقع واقعة واقعية واقف واجب واجبات واجهة "
    "واجهت واسع واسعة واضح واضحة واثق وارد واردات وثيقة وثائق وثيق وعد وعود وعي وباء وبائية وحش "
    "وحشية وحي وداع وداعا وداعاً وردة ورد ورود وريث وشك وشيك وشيكة وظيفة وظائف وظيفي ولع وهم "
    "وهمية وهن وليد وليام وائل وسيم وديع وحيدا وحيداً"
)
ARABIC_CONNECTIVES = _words(
    "ثم لكن لكنه لكنها بينما حيث الذي التي الذين اللذين اللتين اللواتي إذ إذا كما لأن لأنه "
    "لأنها أن أنه أنها فيما عندما بعدما قبلما حين حينما مما كي لكي أو"
)
# «أن» belongs to these: «بعد أن», «يمكن أن».
ARABIC_BEFORE_AN = _words("بعد قبل على إلى يجب يمكن ينبغي منذ دون غير إلا بعض لا")
ENGLISH_CONNECTIVES = _words(
    "and but which that while because although though whereas when where who or so since until "
    "unless after before"
)
# A cut at a mere space should not come after one of these: they lean on the next word.
LEANING_WORDS = _words(
    "في من إلى على عن مع أو لا لم لن ما قد كل بعض بين بعد قبل عند منذ حتى هذا هذه ذلك تلك أن إن "
    "كان كانت غير نحو أي يا خلال ضد دون تحت فوق حول وفي ومن وإلى وعلى وعن ومع وقد ولا ولم the a "
    "an of in to for on at by with from as and or but is are was were be not no its his her "
    "their this that these those which who into"
)
