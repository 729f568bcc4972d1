"""Words and patterns by which the cleaner knows datelines, dates, titles and page furniture.

All patterns are matched against text folded by `fold`, so they are written without hamza on alef,
with ya for alef maksura, ha for ta marbuta and small Latin letters. Folding keeps every
character's position.
"""

from __future__ import annotations

import re
import string

_FOLDING = str.maketrans("أإآٱىة" + string.ascii_uppercase, "اااايه" + string.ascii_lowercase)


def fold(text: str) -> str:
    """Unify the spellings that writers mix up, and ASCII case; the length stays the same."""
    return text.translate(_FOLDING)


def _any_of(words: str) -> str:
    """One pattern for names parted by bars, the longest first, with any blank within a name."""
    names = sorted((name.strip() for name in words.split("|")), key=len, reverse=True)
    return "(?:" + "|".join(re.escape(name).replace(r"\ ", r"\s?") for name in names) + ")"


# ---------------------------------------------------------------------------------------- dates

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "كانون الثاني|يناير|جانفي",
            "شباط|فبراير|فيفري",
            "اذار|مارس",
            "نيسان|ابريل|افريل",
            "ايار|مايو|ماي",
            "حزيران|يونيو|يونيه|جوان",
            "تموز|يوليو|يوليه|يوليوز|جويليه",
            "اب|اغسطس|اوت|غشت",
            "ايلول|سبتمبر|شتنبر",
            "تشرين الاول|اكتوبر",
            "تشرين الثاني|نوفمبر|نونبر",
            "كانون الاول|ديسمبر|دجنبر",
        ),
        start=1,
    )
    for name in names.split("|")
}
_MONTH = _any_of("|".join(MONTHS))
_WEEKDAY = r"(?:(?:يوم\s)?(?:الاحد|الاثنين|الثلاثاء|الاربعاء|الخميس|الجمعه|السبت)\s?[،,]?\s)?"
_ISO = r"(?P<iso>\d{4}-\d{1,2}-\d{1,2})"
_NUMERIC = r"(?P<ymd>\d{4}[/.]\d{1,2}[/.]\d{1,2})|(?P<dmy>\d{1,2}[-/.]\d{1,2}[-/.]\d{4})"
_NAMED = (
    rf"(?P<day>\d{{1,2}})\s(?:من\s)?(?P<month>{_MONTH})(?:\s?[/(]\s?(?P<also>{_MONTH})\)?)?"
    r"\s?[،,]?\s?(?P<year>\d{4})(?:\s?م(?!\w))?"
)
_DATE = f"(?:{_ISO}|{_NUMERIC}|{_NAMED})(?!\\d)"
_ZONE = r"(?:\s?(?:ص|م|صباحا|مساء|am|pm|gmt|utc|z|بتوقيت\s\w{2,12}(?:\s\w{2,12})?|[+-]\d\d:?\d\d))"
_TIME = (
    r"(?:\s?[-–—|،,t]?\s?(?:الساعه\s)?\d{1,2}:\d\d(?::\d\d(?:\.\d{1,6})?)?"
    rf"{_ZONE}{{0,2}}(?!\w))?"
)
_DATE_LABEL = r"(?:date|التاريخ|تاريخ النشر)\s?:?\s?"
_LINE_LABEL = (
    rf"(?:{_DATE_LABEL}|(?:تم\s)?(?:النشر|نشر)(?:\s(?:في|بتاريخ))?\s?:?\s?|"
    r"(?:اخر\s)?تحديث\s?:?\s?)?"
)

DATE_LINE = re.compile(rf"{_LINE_LABEL}{_WEEKDAY}{_DATE}{_TIME}\s?[.،]?$")
# Before running text a date counts only with its label, with a dash or bar, or in ISO form, so
# that a sentence that begins with a date keeps it.
DATE_PREFIXES = tuple(
    re.compile(pattern + r"(?=[^\s\d])")
    for pattern in (
        rf"{_DATE_LABEL}{_WEEKDAY}{_DATE}{_TIME}[\s\-–—|:،,]{{1,5}}",
        rf"{_WEEKDAY}{_DATE}{_TIME}\s?[-–—|]\s",
        rf"{_ISO}(?!\d){_TIME}\s",
    )
)

# ------------------------------------------------------------------------------------ datelines

_AGENCY = _any_of(
    "رويترز|ا ف ب|ا.ف.ب|ا.ف.ب.|فرانس برس|د ب ا|د.ب.ا|ا ب|ا.ب|اسوشيتد برس|اسوشيتدبرس|يو بي اي|"
    "وام|واس|قنا|كونا|بترا|بنا|سانا|واع|وفا|معا|صفا|سبا|سونا|وات|واج|وال|ومع|ا ش ا|ا.ش.ا|"
    "شينخوا|تاس|سبوتنيك|الاناضول|بلومبرغ|بلومبرج|وكالات|الوكالات|reuters|afp|ap|dpa"
)
_AGENCIES = rf"{_AGENCY}(?:\s?[/+،,-]\s?{_AGENCY}){{0,3}}"
_CITY = _any_of(
    "القاهره|الاسكندريه|دبي|ابوظبي|ابو ظبي|الشارقه|الرياض|جده|مكه|مكه المكرمه|"
    "المدينه المنوره|الدوحه|الكويت|المنامه|مسقط|صنعاء|عدن|بغداد|البصره|اربيل|الموصل|كركوك|"
    "النجف|دمشق|حلب|بيروت|عمان|القدس|القدس المحتله|رام الله|غزه|خان يونس|نابلس|تل ابيب|"
    "الخرطوم|بورتسودان|طرابلس|بنغازي|تونس|الجزائر|الجزائر العاصمه|الرباط|الدار البيضاء|مراكش|"
    "طنجه|نواكشوط|مقديشو|جيبوتي|جوبا|انجمينا|نيامي|باماكو|واشنطن|نيويورك|الامم المتحده|"
    "سان فرانسيسكو|لوس انجليس|لندن|باريس|برلين|بروكسل|لاهاي|جنيف|زوريخ|فيينا|روما|الفاتيكان|"
    "مدريد|برشلونه|لشبونه|دبلن|ستوكهولم|اوسلو|كوبنهاغن|هلسنكي|وارسو|براغ|بودابست|بوخارست|"
    "اثينا|نيقوسيا|موسكو|كييف|مينسك|انقره|اسطنبول|طهران|كابول|اسلام اباد|كراتشي|نيودلهي|"
    "نيو دلهي|مومباي|داكا|بكين|شنغهاي|هونغ كونغ|هونج كونج|طوكيو|سيول|مانيلا|جاكرتا|"
    "كوالالمبور|سنغافوره|بانكوك|سيدني|كانبيرا|نيروبي|اديس ابابا|كمبالا|لاغوس|ابوجا|اكرا|"
    "داكار|كيب تاون|جوهانسبرغ|بريتوريا|اوتاوا|تورونتو|مكسيكو سيتي|برازيليا|ريو دي جانيرو|"
    "بوينس ايرس|هافانا|كراكاس"
)
_SHORT_DATE = rf"(?:\s(?:في\s)?\d{{1,2}}\s{_MONTH}(?:\s?[/(]\s?{_MONTH}\)?)?(?:\s\d{{4}})?)?"
DATELINES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_CITY}(?:\s?[/،-]\s?{_CITY})?{_SHORT_DATE}\s?[-–—ـ]?\s?"
        rf"\(\s?{_AGENCIES}\s?\)\s?[-–—ـ:]{{1,2}}\s?(?=\S)",
        rf"{_CITY}(?:\s?[/،-]\s?{_CITY})?{_SHORT_DATE}\s?[-–—ـ/،:]\s?"
        rf"{_AGENCIES}\s?[-–—ـ/:]{{1,2}}\s(?=\S)",
        rf"\(\s?{_AGENCIES}\s?\)\s?[-–—ـ:]{{1,2}}\s(?=\S)",
    )
)

# ------------------------------------------------------------------------------------ furniture

# Headings that announce links.
_READ_ALSO = (
    r"(?:ا?قر[اؤ]وا?|اقرا|طالع|طالعوا|شاهد|شاهدوا|تابع|انظر)\s(?:ايض[اً]{1,2}|المزيد|كذلك|"
    r"في هذا الملف)|(?:ل?لمزيد|مزيد) من (?:الاخبار|التفاصيل)|لقراءه المزيد|"
    r"(?:مواضيع|موضوعات|مقالات|اخبار|قصص) (?:ذات صله|متعلقه|مشابهه|قد تهمك)|"
    r"(?:قد|ربما) (?:يهمك|يعجبك|تهمك)(?: ايض[اً]{1,2})?|الاكثر قراءه|"
    r"read (?:also|more)|related (?:articles|stories)"
)
# The heading alone or before a colon; or, for those that are hardly ever said in a sentence,
# before a short text that does not end as a sentence does.
READ_ALSO = re.compile(
    rf"[\[(«*>|•-]?\s?(?:{_READ_ALSO})(?:\s?[\])»|:.*>…-]{{0,3}}$|\s?[:|»>]\s?.{{1,200}}$)"
    r"|[\[(«*>|•-]?\s?(?:اقرا|طالع)\sايض[اً]{1,2}\s.{1,120}(?<![.!؟?…\"»])$"
    r"|(?:اقرا|طالع|شاهد)\sايض[اً]{1,2}\s?(?=http).{1,200}$",
)

_PLATFORM = _any_of(
    "فيسبوك|فيس بوك|الفيسبوك|تويتر|اكس|منصه اكس|واتساب|واتس اب|الواتساب|انستغرام|"
    "انستجرام|انستقرام|تلغرام|تليغرام|تيليغرام|تلجرام|تيليجرام|يوتيوب|تيك توك|لينكد ان|"
    "لينكدان|سناب شات|ماسنجر|بنترست|غوغل نيوز|جوجل نيوز|البريد الالكتروني|البريد|نبض|"
    "facebook|twitter|x|whatsapp|instagram|telegram|youtube|tiktok|linkedin|snapchat|"
    "messenger|pinterest|email|google news"
)
_SHARE_VERB = _any_of(
    "شارك|شاركها|شاركه|شارك المقال|شارك الخبر|شارك هذا المقال|شارك هذا الخبر|شارك الموضوع|"
    "شارك القصه|شارك الصفحه|مشاركه|مشاركه المقال|مشاركه الخبر|شارك مع اصدقائك|انشر|ارسل|اطبع|"
    "طباعه|انسخ الرابط|نسخ الرابط|تم نسخ الرابط|احفظ|حفظ المقال|تابعنا|تابعونا|share|tweet|"
    "copy link|print|follow us"
)
_JOINT = r"\s?(?:[،,|/+•·:&-]|\sو?|\s(?:عبر|علي|في|او|و|on|via)\s)\s?"
SHARE_BUTTONS = re.compile(
    rf"{_SHARE_VERB}(?:{_JOINT}(?:{_SHARE_VERB}|{_PLATFORM})){{0,12}}\s?[:.!]?$"
    rf"|{_PLATFORM}(?:{_JOINT}(?:{_SHARE_VERB}|{_PLATFORM})){{1,12}}\s?[:.!]?$",
)
SINGLE_PLATFORM = re.compile(rf"{_PLATFORM}$")
# A call to the reader: an imperative, and something of "ours" to follow. Most of the verbs may
# also be in the past ("they followed us"), so the cleaner asks for more: see `_is_share_line`.
FOLLOW_CALL = re.compile(
    r"(?:تابعونا|تابعنا|لمتابعتنا|يمكنكم متابعتنا|يمكنك متابعتنا|"
    r"(?:(?:تابع|اشترك|انضم|حمل|سجل)(?:وا)?|للاشتراك|للانضمام|لمتابعه)\s(?:\w+\s){0,3}"
    r"(?:قناتنا|صفحتنا|صفحاتنا|حسابنا|حساباتنا|نشرتنا|تطبيقنا|منصاتنا|مجموعتنا|قنواتنا|اخبارنا))"
    r"(?!\w)"
)
NAMES_PLATFORM = re.compile(rf"(?<!\w)(?:ال|و|بال|ب)?{_PLATFORM}(?!\w)")

_CREDITED = (
    rf"(?:{_AGENCIES}|غيتي(?:\sايمجز)?|جيتي(?:\sايمدجز|\sايمجز)?|getty(?:\simages)?|ارشيفيه|ارشيف|"
    r"الارشيف|مواقع التواصل(?:\sالاجتماعي)?|الفرنسيه|الاوروبيه)"
)
PHOTO_CREDIT = re.compile(
    r"[(\[«]\s?(?:تصوير|عدسه|المصور|الصوره|صوره|الصور|صور|مصدر الصوره|photo)\s?:\s?"
    r"[^.()]{2,60}[)\]»]\.?$"
    r"|(?:تصوير|عدسه|المصور|photo(?: by)?)\s?:\s?"
    r"\w+(?:\s\w+){0,3}(?:\s?[/-]\s?\w+(?:\s\w+)?)?$"
    rf"|(?:الصوره|صوره|الصور|صور|مصدر الصوره|الصوره من|photo|image)\s?:\s?{_CREDITED}\.?$"
    r"|[(\[«]?\s?(?:صوره|صور)\s(?:ارشيفيه|من الارشيف|تعبيريه)\s?[)\]»]?\.?$"
    r"|[(\[]?\s?(?:getty images|غيتي ايمجز|جيتي ايمدجز|جيتي ايمجز|ارشيفيه)\s?[)\]]?$",
)
AGENCY_ALONE = re.compile(rf"[(\[]\s?{_AGENCIES}\s?[)\]]\.?$")

_OUTLET = (
    rf"(?:{_AGENCIES}|وكالات انباء|وكاله الانباء \w+|مواقع|مواقع الكترونيه|صحف|الصحافه \w+|"
    r"الجزيره(?: نت)?|العربيه(?: نت)?|بي بي سي|سي ان ان|الجزيره مباشر|"
    r"مواقع التواصل(?: الاجتماعي)?)"
)
AGENCY_FOOTER = re.compile(
    rf"(?:المصدر|المصادر|مصدر)\s?:\s?{_OUTLET}(?:\s?[/+،,&-]\s?{_OUTLET}|\sو{_OUTLET}){{0,4}}\.?$"
    rf"|(?:المصدر|المصادر)\s?:\s?\w+(?:\s\w+)?\s?[+]\s?{_OUTLET}$"
    r"|(?:©|\(c\)|copyright\b|حقوق النشر\s?[©:]).{0,150}$"
    r"|(?:جميع\s|كافه\s|كل\s)?(?:ال)?حقوق محفوظه"
    r"(?:\s(?:ل\w+|لدي|©|\d{4}|[-–|])(?:\s[^.\s]+){0,8})?$"
    r"|all rights reserved\.?.{0,80}$"
    r"|\(\s?(?:اعداد|تغطيه صحفيه|تغطيه|كتابه|ترجمه|شارك في التغطيه)\s[^()]{3,200}\)$",
)

# --------------------------------------------------------------------------------------- titles

TITLE_LABEL = re.compile(r"(?:العنوان|عنوان الخبر|عنوان المقال|title)\s?:\s?(?=\S)")
TITLE_MARK = re.compile(r"#\s(?=\S)")
# Openings of a letter, a byline, a list or a sentence that goes on: not of a title.
NOT_A_TITLE = re.compile(
    r"[^\w\"«']|\d{1,3}\s?[.)ـ:-]\s|"
    r"(?:بسم الله|السلام عليكم|السيد|الساده|السيده|الي|عزيز\w{0,3}|اعزاء\w{0,3}|حضره|ايها|سعاده|"
    r"معالي|كتب|كتبت|بقلم|اعداد|ترجمه|قال|وقال|اولا)(?!\w)"
)
SENTENCE_END = re.compile(r"[.!؟?…][\"'»”)\]]{0,2}$")
STOP_INSIDE = re.compile(r"[.!؟?…؛]\s")
