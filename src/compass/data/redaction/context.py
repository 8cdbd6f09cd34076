"""Words beside a number that say what it is, in the languages that most prompts come in."""

from __future__ import annotations

import regex

from compass.data.redaction.spans import Scanned

_NEAR = 40
"""Characters before a number in which a word counts, and half as many after it [ours]."""

_PHONE = (
    "phone|telephone|telephon|tel|call|calls|called|calling|ring|mobile|cell|whatsapp|sms|fax|text|dial|reach|landline",
    "tel[eé]fon|llam|m[oó]vil|celular|marcar|fijo|telefone|ligue|ligar|telem[oó]vel|contacto|contato|localiz|avisar al",
    "t[eé]l[eé]phon|appel|portable|joindre|joignable|rappel|anruf|ruf|rufe|rückruf|handy|mobil|erreich|festnetz|meld",
    "chiam|cellulare|trovi al|zadzwo|dzwo[nń]|kom[oó]rk|bel|bellen|telefoon|mobiel|ringa|puhelin|soita|viber|signal",
    "τηλ|κάλεσ|καλέσ|κινητ|τηλέφων|тел|телефон|позвон|звон|моб|подзвон|набери|cep|ara|telefonu",
    "هاتف|اتصل|جوال|موبايل|تلفن|تماس|טלפון|התקשר|נייד|फ़ोन|फोन|फ़ोन|कॉल|मोबाइल|संपर्क|ফোন|மொபைல்|போன்",
    "电话|電話|手机|手機|拨打|撥打|致电|致電|联系|聯繫|打给|打給|携帯|連絡|전화|연락|휴대|โทร|điện thoại|gọi|sđt",
    "ffon|ffôn|ffoni|ffonia|simu|piga|telepon|hubungi",
)
_OTHER_NUMBER = (
    "order|orders|invoice|ticket|ref|reference|sku|isbn|issn|ean|version|build|release|serial|tracking|commit|model|part",
    "case|item|batch|lot|article|chapter|page|score|total|sum|result|population|price|cost|product|issue|parcel|shipment",
    "bestell|rechnung|artikel|auftrag|sendung|seite|summe|preis|ergebnis|einwohner|vorgang|charge|paket",
    "commande|facture|colis|suivi|produit|prix|somme|résultat|dossier|réf|réference|habitants",
    "pedido|factura|env[ií]o|producto|precio|suma|resultado|seguimiento|lote|fatura|encomenda|habitantes",
    "ordine|fattura|spedizione|prodotto|prezzo|somma|risultato|lotto|pratica|pacco|abitanti",
    "zamówien|faktur|bestelling|factuur|pakket|order nr|sipariş|fatura|παραγγελ|τιμολ",
    "заказ|накладн|товар|цен|сумм|результат|верси|артикул|посылк|трек|население|замовлен",
    "طلب|فاتورة|הזמנה|חשבונית|ऑर्डर|आदेश|बिल|चालान|उत्पाद|कीमत|योग|परिणाम|संस्करण|पार्सल|जनसंख्या",
    "processo|proc\\.|dossier|mahkeme|sag(?:nr|snummer)|målnummer|ordernummer|sak(?:snummer)?",
    "订单|訂單|发票|發票|产品|產品|价格|快递|快遞|单号|單號|版本|结果|人口|注文|請求書|商品|주문|송장|버전",
)
_IDENTITY = (
    "id|ids|identity|identification|national|insurance|social|security|passport|licence|license|tax|taxpayer|ssn|nino",
    "ni|nhs|utr|tfn|pan|aadhaar|aadhar|citizen|personal number|personal code|citizen",
    "dni|nie|nif|documento|identidad|seguridad social|curp|rfc|rut|cpf|cnpj|contribuinte|cidad[aã]o",
    "s[eé]curit[eé] sociale|carte vitale|nir|identit[eé]|num[eé]ro fiscal|assur[eé]",
    "steuer|ausweis|sozialversicherung|rentenversicherung|ahv|versichert|identifikationsnummer",
    "codice fiscale|partita iva|tessera|identit[aà]|pesel|nip|dow[oó]d|bsn|burgerservice|personnummer|hetu|cpr|rodn",
    "инн|снилс|паспорт|удостоверени|ідентифікац|рнокпп|αμκα|αφμ|ταυτότητ|kimlik|tckn|vergi",
    "הזהות|זהות|هوية|الهوية|ملی|आधार|पैन|पहचान|身份证|身分證|证件|個人番号|マイナンバー|주민등록|주민번호|บัตรประชาชน",
    "cccd|cmnd|nik|ktp|yswiriant|t\\.c\\.|tc no|personnr|organisationsn|orgnr|사업자등록|法人番号",
    "btw|vat|tva|ust-id|ustid|moms",
)
_DOCUMENT = (
    "passport|driving licence|driver's license|driver license|identity card|id card|pasaporte|passeport|reisepass",
    "ausweis|passaporto|passaporte|paszport|paspoort|carte d'identité|documento de identidad|carta d'identità",
    "dow[oó]d osobist|prawo jazdy|rijbewijs|identiteitskaart|k[öo]rkort|ehliyet|permis de conduire|führerschein",
    "運転免許|免許証|在留カード|운전면허|外国人登録|водительск",
    "паспорт|снилс|удостоверени|διαβατήρι|ταυτότητ|pasaport|جواز|דרכון|पासपोर्ट|护照|護照|旅券|パスポート|여권|หนังสือเดินทาง",
)
_ADDRESS = (
    "ip|ips|address|server|host|ping|ssh|router|dns|gateway|adres|direcci[oó]n|servidor|adresse|serveur|indirizzo",
    "адрес|сервер|διεύθυνσ|διακομιστ|सर्वर|पता|服务器|地址|伺服器|サーバ|서버|주소|عنوان|خادم",
)
_VERSION = (
    "version|versi[oó]n|versione|vers[aã]o|release|build|firmware|kernel|driver|update|upgrade|python|section|chapter",
    "noyau|pilote|treiber|abschnitt|kapitel|secci[oó]n|cap[ií]tulo|sezione|capitolo|верси|прошивк|ядр|драйвер|раздел|глава",
    "έκδοσ|संस्करण|फ़र्मवेयर|फ़र्मवेयर|अनुभाग|版本|固件|章|节|バージョン|버전|إصدار|גרסה",
)


def _words(*lists: str) -> regex.Pattern[str]:
    # Longer words are stems (`telefon`, `телефону`), short ones whole words, or `tel` would be in `tell`.
    entries = (
        word if len(word) > 4 or not word.isascii() else rf"{word}(?!\p{{L}})"
        for part in lists
        for word in part.split("|")
    )
    return regex.compile(rf"(?i)(?<![\p{{Latin}}\p{{Cyrillic}}\p{{Greek}}])(?:{'|'.join(entries)})")


_WORDS = {
    "phone": _words(*_PHONE),
    "other number": _words(*_OTHER_NUMBER),
    "identity": _words(*_IDENTITY, *_DOCUMENT),
    "document": _words(*_DOCUMENT),
    "address": _words(*_ADDRESS),
    "version": _words(*_VERSION),
}


def says(scanned: Scanned, start: int, end: int, what: str) -> bool:
    """Say whether a word before or after a stretch says what it is: a `phone`, an `identity`, an `other number`."""
    words = _WORDS[what]
    return bool(words.search(scanned.before(start, _NEAR)) or words.search(scanned.after(end, _NEAR // 2)))


def said_last(scanned: Scanned, start: int, end: int, what: str, rival: str) -> bool:
    """Say whether words for `what` stand nearer before a stretch than those for `rival`, or only they stand there."""
    before = scanned.before(start, _NEAR)
    nearest = {kind: max((m.end() for m in _WORDS[kind].finditer(before)), default=-1) for kind in (what, rival)}
    if nearest[what] == nearest[rival] == -1:
        return bool(_WORDS[what].search(scanned.after(end, _NEAR // 2)))
    return nearest[what] > nearest[rival]
