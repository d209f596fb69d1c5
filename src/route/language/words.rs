//! What single words and letters tell of a text's language.

use std::collections::HashMap;
use std::sync::LazyLock;

use whatlang::Lang;

/// A set of languages: one bit for each, in the order of [`LANGUAGES`].
type Languages = u64;

/// Languages that share a script with others: their letters beyond ASCII, or beyond what the script's languages have in
/// common, and their commonest words, among them those that people use to ask.
pub(super) const LANGUAGES: [(Lang, &str, &str); 41] = [
    (
        Lang::Eng,
        "",
        "the of and to a in is i it that you for on with as are this be was have not at or from by an we can will if \
         what how do which who why when where my your his they he she her their its there all one would should could \
         does did has had but so about into than then more any some please write explain give make find show tell \
         list use using fix help create add each following best get need want let hello hi thanks thank yes now good \
         new time like just only also such up out were other many most first two between after before over these \
         those compare describe summarize translate calculate word words text sentence question code file year much \
         long convert update remove check run test english am i' don' doesn' didn' isn' can' it' what' that' let' \
         you' there' whom whose while during without because through same own very been being may must might per both \
         every another thing things people work way change name number answer",
    ),
    (
        Lang::Deu,
        "äöüß",
        "der die das und ist in zu den nicht von sie es mit sich des auf für ein eine einen einem einer dem im ich \
         wir du er ihr mir mich dir dich als auch an aus bei nach wie was wer wo warum wann welche welcher welches \
         wenn dass sind war hat habe haben wird werden wurde kann kannst können könnte soll sollte muss noch nur oder \
         aber um am zum zur vom über vor durch unter bis mein meine meinen dein deine unser ihre ihren bitte schreibe \
         schreib erkläre erklär gib nenne mache mach zeige hallo danke gerne ja nein kein keine mal hier da dieser \
         diese dieses diesen gibt geht guten gut sehr mehr ohne zwischen bin bist hast text satz liste deutsch \
         englisch heute jetzt immer wieder schon etwas alles nichts dann doch so alle viel viele man weil damit würde \
         wäre wollen will möchte uns euch ihm ihnen denn ob sein seine seinen jahr jahre zeit frage wort worum wofür \
         fuer koennen waere ueber",
    ),
    (
        Lang::Fra,
        "àâçèéêëîïôùûüœ",
        "le la les de des du un une et est en que qui à dans pour pas sur avec au aux ce cet cette ces il elle je tu \
         nous vous ils elles on se sa son ses mon ma mes ton ta tes votre vos notre nos leur leurs plus moins ne par \
         mais ou où donc car comme si tout tous toute toutes sont était être avoir ai as a avons avez ont fait faire \
         peut peux pouvez quel quelle quels quelles comment pourquoi quand combien bonjour salut merci oui non moi \
         toi lui donne écris écrire explique traduis résume liste l' d' j' c' n' s' qu' m' t' sans entre y très bien \
         aussi sous suis es sommes êtes texte phrase quoi cela ça ca rien peu trop même autre autres après avant \
         depuis pendant encore toujours jamais chez vers faut veux dois va vais deux jour temps mot mots français \
         anglais aujourd' meilleur meilleure quelqu' lorsqu' puis ici là",
    ),
    (
        Lang::Spa,
        "áéíñóúü",
        "el la los las de del un una unos y en que a por con no se su sus para es al lo como más pero o mi mis me te \
         tu tus le les nos si sin sobre este esta esto estos estas ese esa eso está están estoy estás son ser fue era \
         ha he han hay muy ya qué cómo cuál cuáles cuándo dónde quién cuánto porque cuando donde cual quien puedo \
         puedes puede poder hacer hola gracias sí también entre todo todos toda nada algo yo ella ellos nosotros eres \
         soy somos tiene tengo tienes tener dame escribe explica haz dime traduce resume favor hace necesito \
         necesitas quiero quieres desde hasta cada texto frase ni solo sólo mejor bien buenos días día dos otro otra \
         otros otras antes después ahora aquí así siempre nunca aunque ir voy vas va conmigo contigo había sería \
         hablar decir creo sé tal vez usted año años palabra español inglés cuanto cuales mucho muchos muchas",
    ),
    (
        Lang::Por,
        "áâãàçéêíóôõú",
        "o a os as de do da dos das um uma e é em no na nos nas que para por com não se seu sua seus suas ao à mais \
         mas como eu você vocês ele ela eles nós meu minha me te lhe ou quando qual quais quem onde quanto porque \
         muito muitos já foi ser são sou era estar está estão estou tem tenho ter têm há isso isto este esta esse \
         essa pelo pela entre sobre até sem também pode posso poder fazer faça faz fiz olá oi obrigado obrigada sim \
         escreva explique dê traduza resuma quero preciso só num numa texto frase tu és teu tua tens bem bom boa \
         bastante tudo nada algo depois antes agora aqui sempre nunca ainda apenas mesmo outro outra vai vou dia dias \
         ano anos melhor dizer nem voce nao gosto gosta minhas meus dois duas quer cada palavra português inglês",
    ),
    (
        Lang::Ita,
        "àèéìòù",
        "il lo la i gli le di del della dei degli delle dello un una uno e è in che a per con non si da dal dalla nel \
         nella al alla ai alle su come più ma o se mi ti ci vi io tu lui lei noi loro sono sei siamo ho hai ha \
         abbiamo hanno era essere avere questo questa questi quello quella cosa chi quale quali quando dove perché \
         quanto anche molto fare fai fa puoi può posso potrei stato stai sto sta ciao grazie sì no scrivi spiega \
         spiegami dammi dimmi parlami traduci riassumi mio mia tuo tua suo sua miei ed tra fra senza sul sulla dell' \
         l' d' un' c' all' nell' po' quell' dall' testo frase bene meglio tutto tutti tutte niente ogni solo ancora \
         sempre mai già ora poi così dopo prima due anno anni giorno tempo stesso altro altri altra vorrei voglio \
         devo parola italiano inglese allora perche piu",
    ),
    (
        Lang::Nld,
        "ëïéèö",
        "de het een van en in is dat op te zijn met voor niet aan er om ook als dan maar bij ik je jij we wij hij zij \
         ze u mijn jouw uw haar hun ons onze mij me wat wie waar waarom wanneer hoe hoeveel welke welk dit deze die \
         door naar uit over tot of kan kun kunt kunnen moet moeten wil wilt wordt word worden werd heeft heb hebt \
         hebben had was waren ben bent geen niets iets alles nog wel meer veel goed goede zo nu hier daar schrijf \
         geef leg maak vertel vertaal hallo dank bedankt graag ja nee al alle onder tussen na tekst zin zou zouden \
         zal ga gaat doe doet jou zich zelf ooit nooit altijd tijdens omdat zonder tegen andere twee jaar tijd woord \
         nederlands engels betekent werk zeer tweede ander hem",
    ),
    (
        Lang::Afr,
        "ëêïéè",
        "die van en in is dat op te met vir nie aan om ook as dan maar by ek jy ons hy sy hulle my jou wat wie waar \
         hoekom wanneer hoe watter dit hierdie daardie deur na uit oor tot of kan moet wil word het was geen nog meer \
         baie goed so nou hier daar skryf gee maak asseblief hallo dankie ja nee sal sou wees hom haar hul 'n gedoen \
         jaar toe",
    ),
    (
        Lang::Pol,
        "ąćęłńóśźż",
        "i w z na do nie się to jest że o jak a po co dla od za ale ja ty on ona my wy mnie mi ci cię jego jej ich go \
         mój moja moje twój twoja są był była było być mam masz ma może mogę możesz można czy kto gdzie kiedy \
         dlaczego ile który która które tym tego ten ta te tej tych przez przy już tylko jeszcze bardzo oraz lub albo \
         ze we u pod nad proszę napisz wyjaśnij podaj cześć dzień dobry dziękuję tak jaki jaka jakie jesteś jestem \
         nic wszystko też więc bo gdy jeśli aby żeby między bez roku lat dwa sobie sie także został wiem chcę polsku \
         angielski",
    ),
    (
        Lang::Ces,
        "áčďéěíňóřšťúůýž",
        "a v na se je že s z do o to i k ve za pro by jak ale po co si tak já ty on ona my vy mi mě mně tě jeho její \
         jejich jsem jsi jsme jsou byl byla bylo být mám máš má může mohu můžeš kdo kde kdy proč kolik který která \
         které tento tato toto této ten ta tom jako od při už jen ještě nebo ze pod nad prosím napiš vysvětli ahoj \
         děkuji dobrý ano ne není také podle velmi nic vše všechno mezi bez pokud aby když protože dva let roku jaký \
         jaká jaké jeden až před u kterou česky anglicky dej přelož oprav",
    ),
    (
        Lang::Slk,
        "áäčďéíĺľňóôŕšťúýž",
        "a v na sa je že s z do o to i k vo za pre by ako ale po čo si tak ja ty on ona my vy mi mňa mne ťa jeho jej \
         ich som sme sú bol bola bolo byť mám máš má môže môžem môžeš kto kde kedy prečo koľko ktorý ktorá ktoré \
         tento táto toto tejto ten tá tom od pri už len ešte alebo zo pod nad prosím napíš vysvetli ahoj ďakujem \
         dobrý áno nie podľa veľmi nič všetko medzi bez ak aby keď pretože dva rokov roku aký aká aké jeden až pred u \
         ktorú slovensky anglicky daj prelož",
    ),
    (
        Lang::Ron,
        "ăâîșțşţ",
        "de și şi în a la cu pe nu o un din să este e care pentru mai că ce se au sunt am ai fost era fi lui ei eu tu \
         el ea noi voi mă te îmi îți cum cine unde când cât dar sau dacă după până prin între fără poate poți pot are \
         avea această acest acestui asta acesta acestea foarte tot toate toți salut bună mulțumesc da scrie explică \
         dă fă traduce al ale cel cea cei lor le îl își va vor ar ca fac face doar acum aici nici nimic ceva unei \
         unui spre sub despre bine ani an text română engleză mult mulți dintre si sa in ta mea meu tău sale mi",
    ),
    (
        Lang::Hun,
        "áéíóöőúüű",
        "a az és hogy nem is van egy ez azt ezt de meg csak már még ha mint vagy kell lehet volt lesz én te ő mi ti \
         ők nekem neked engem téged mit ki hol mikor miért hogyan milyen melyik hány mennyi el fel le be után alatt \
         között minden nagyon itt ott kérlek írj írd magyarázd szia helló köszönöm igen tudsz tud tudom vagyok \
         fordítsd jó sem volna szerint majd most mert akkor így úgy lenne két év ezek aki ami amely valamint",
    ),
    (
        Lang::Swe,
        "åäö",
        "och i att det som en på är av för med den till inte om ett jag du han hon vi ni de dem mig dig min mitt mina \
         din ditt dina har hade kan kunde var vara vad vem när hur varför vilken vilket vilka men så eller från ut \
         upp där här nu också efter vid ska skulle bli blir blev många mycket mer hej tack ja nej skriv förklara ge \
         gör göra finns vill detta denna dessa sig sin sitt sina under över mellan utan bara alla allt något några \
         mot år två bra översätt måste får fick kommer säga man än svenska engelska",
    ),
    (
        Lang::Dan,
        "åæø",
        "og i at det er en til på af for med den de ikke som et jeg du han hun vi mig dig min mit mine din dit har \
         havde kan kunne var være hvad hvem hvor hvornår hvordan hvorfor hvilken hvilke men så eller fra ud op der \
         her nu også efter ved skal skulle blive bliver blev meget mere hej tak ja nej skriv forklar giv findes vil \
         dette denne disse været sig sin under over mellem uden kun alle alt noget nogle mod år to godt hvis man end \
         dansk engelsk lav oversæt",
    ),
    (
        Lang::Nob,
        "åæø",
        "og i å det er en til på av for med den de ikke som et jeg du han hun vi meg deg min mitt mine din ditt har \
         hadde kan kunne var være hva hvem hvor når hvordan hvorfor hvilken hvilke men så eller fra ut opp der her nå \
         også etter ved skal skulle bli blir ble mye mer hei takk ja nei skriv forklar gi finnes vil dette denne \
         disse vært om seg sin under over mellom uten bare alle alt noe noen mot år to bra hvis man enn norsk engelsk \
         lag oversett",
    ),
    (
        Lang::Fin,
        "äö",
        "ja on ei se että en ole oli olla hän minä sinä me te he mitä mikä kuka missä milloin miksi miten kuinka \
         mutta tai kun niin myös kuin joka jotka jos vain nyt ovat olen olet voi voit voitko voiko minun sinun \
         minulle sinulle kanssa ennen jälkeen tämä tuo nämä kaikki hyvin hyvä paljon hei moi kiitos kyllä kirjoita \
         selitä anna käännä tee sen sitä tämän mukaan sekä vielä jo eli kuitenkin vuoden vuonna koko mikään mitään \
         suomeksi englanniksi onko oletko",
    ),
    (
        Lang::Est,
        "äöüõ",
        "ja on ei et see ta ma sa me te nad ka kui oma oli mis kes kus millal miks kuidas aga või siis nii veel seda \
         selle minu sinu mida kas saab saad olen oled pole ning juba väga palun tere aitäh jah kirjuta selgita tõlgi \
         mitte ole kuni pärast enne nende need nüüd aasta eesti inglise",
    ),
    (
        Lang::Tur,
        "çğıöşü",
        "ve bir bu da de için ile ne mi mı mu mü ben sen o biz siz onlar beni seni benim senin bana sana onun bunu \
         çok daha en gibi kadar var yok olan olarak oldu olur değil ama veya ya her nasıl nasılsın neden niçin kim \
         nerede hangi kaç zaman şey sonra önce lütfen yaz açıkla merhaba teşekkür ederim evet hayır misin mısın musun \
         müsün ki göre nedir midir hiç hiçbir iyi istiyorum biliyor ise şu bütün tüm iki yeni üzerinde hakkında nasil \
         icin cok degil türkçe ingilizce eder yardım",
    ),
    (
        Lang::Ind,
        "",
        "yang dan di ke dari ini itu untuk dengan tidak adalah pada saya anda kamu aku kami kita dia mereka akan bisa \
         dapat apa siapa mana kapan mengapa kenapa bagaimana berapa atau juga ada sudah telah belum karena seperti \
         dalam oleh lebih sangat sekali jika kalau tapi tetapi bukan buat tolong tulis buatkan jelaskan beri berikan \
         halo hai terima kasih ya apakah bisakah seorang sebuah suatu satu dua bahasa secara hanya saja lagi masih \
         mau ingin harus banyak semua orang hari tahun antara sebagai tersebut menjadi bagi agar para cara baik \
         selamat terjemahkan kabar sekarang tentang mu ku nya namun",
    ),
    (
        Lang::Vie,
        "àáâãèéêìíòóôõùúýăđĩũơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
        "là và của có không cho được trong một các tôi bạn này những với",
    ),
    (
        Lang::Hrv,
        "ćčđšž",
        "i u je na se da za od s su o a ne što kao iz do koji koja koje ili ali ja ti on ona mi vi me moj moja tvoj \
         sam si smo ste bio bila bilo biti će ću može mogu možeš tko gdje kada zašto kako koliko ovo ova ovaj taj to \
         po kod već još samo vrlo molim napiši objasni bok hvala nije nisu nema sve svi ako kad jer prema pri sa više \
         te ni bi godine hrvatski engleski",
    ),
    (
        Lang::Slv,
        "čšž",
        "in je na se da za od s z so v o a ne kaj kot iz do ki ali pa jaz ti on ona mi vi me moj moja sem si smo ste \
         bil bila bilo biti bo bom lahko kdo kje kdaj zakaj kako koliko to ta te tega po pri že še samo zelo prosim \
         napiši razloži hvala ni tudi ter več če ker kar njegov leta vse med brez slovensko angleško",
    ),
    (
        Lang::Cat,
        "àçèéíïòóúü·",
        "el la els les de del dels un una i en que a per amb no es se seu seva seus al als com més però o mi em et tu \
         jo si sense sobre aquest aquesta això aquests són ser ha he han hi molt ja què quin quina quan on qui perquè \
         pot puc fer hola gràcies també entre tot tots tota l' d' s' n' m' va ho està estàs sóc ets meu meva teu teva \
         fins des any anys dos res català anglès escriu explica",
    ),
    (
        Lang::Tgl,
        "ñ",
        "ang ng sa na mga ay at ako ikaw ka siya kami tayo kayo sila ko mo niya namin natin nila ito iyon para hindi \
         may mayroon ano sino saan kailan bakit paano alin kung dahil pero din rin lang po opo salamat isang isa nang \
         pa ba kumusta bilang kanyang",
    ),
    (
        Lang::Rus,
        "ёыэъ",
        "и в не на я что с со он она как это а по но они к у ты мы из за вы так же от для о об его её или если есть \
         был была было быть мне меня мой моя мои тебе тебя вам вас нас кто где куда когда почему зачем какой какая \
         какие сколько можно могу может можешь привет здравствуйте спасибо да нет ни напиши напишите объясни сделай \
         переведи исправь очень все всё чем при до уже только еще ещё этот эта эти этого то бы ли себя чтобы который \
         которые том тоже хорошо дела ничего один два надо нужно русский английский после между без раз",
    ),
    (
        Lang::Ukr,
        "ґєії",
        "і в у не на я що з зі він вона як це а по але вони до ти ми за ви так же від для о про його її або якщо є \
         був була було бути мені мене мій моя мої тобі тебе вам вас нас хто де куди коли чому навіщо який яка які \
         скільки можна можу може можеш привіт дякую ні напиши поясни зроби переклади дуже все та чи й щоб тільки ще \
         вже цей ця ці цього те би себе також добре нічого один два треба після між без мову англійську",
    ),
    (
        Lang::Bul,
        "ъ",
        "и в не на аз че с той тя как това а по но те към у ти от ние за вие така до о му или ако е са бил беше ми ме \
         мой моя теб кой къде кога защо какъв каква какви колко може мога можеш здравей благодаря да напиши обясни \
         направи много всички всичко се си ще като при след само още вече този тази тези който която които има няма \
         съм сме сте преди между без един два й",
    ),
    (Lang::Ara, "ةأإؤئىكي", "في من على إلى ما هل كيف هذا هذه التي الذي أن لا هو هي مع عن أنا أنت كان لماذا أين متى"),
    (Lang::Pes, "پچژگکی", "در و از به که این را با است آن برای من تو شما چه چرا کجا چطور هم می تا یک یا نیست خود"),
    (Lang::Urd, "ٹڈڑےںہھگچپکی", "میں ہے کے کی کا اور سے کو نے یہ پر ہیں کیا آپ نہیں بھی ایک مجھے کیوں کیسے"),
    (Lang::Hin, "", "है के की का में और से को ने यह पर हैं क्या आप नहीं भी एक मुझे क्यों कैसे हो मैं कि था लिए"),
    (
        Lang::Lit,
        "ąčęėįšųūž",
        "ir yra kad į iš su ne tai kaip o bet ar per apie už po nuo iki ką kas kur kada kodėl kiek aš tu jis ji mes \
         jūs jie man mano tavo jo jos jų buvo būti gali galima labai tik dar jau taip prašau parašyk ačiū labas šis \
         ši šio kurie kuris dėl pagal metų metais",
    ),
    (
        Lang::Lav,
        "āčēģīķļņšūž",
        "un ir ka uz no ar nav tas kā bet vai par pie pēc līdz kas kur kad kāpēc cik es tu viņš viņa mēs jūs viņi man \
         mans tavs bija būt var ļoti tikai vēl jau jā nē lūdzu uzraksti paldies šis šī to tā kuri kurš lai arī gada \
         gadā",
    ),
    (
        Lang::Epo,
        "ĉĝĥĵŝŭ",
        "la kaj de en estas al ne mi vi li ŝi ni ili kio kiu kie kiam kial kiel kiom ĉu por kun sed aŭ ke el pri per \
         sur mia via lia ilia tio tiu ĉi estis povas jes dankon saluton bonvolu skribu pli tre ankaŭ kiuj tiuj unu da \
         ĝi",
    ),
    (
        Lang::Cym,
        "âêîôûŵŷ",
        "y yr yn ac a i o ar am mae yw oedd ei eu fy dy ein eich nid ddim beth pwy ble pryd pam sut faint fi ti ef hi \
         ni chi nhw gan gyda wedi bod bydd hefyd os gwelwch dda diolch helo ysgrifennwch ond neu fel hyn hon",
    ),
    (
        Lang::Aze,
        "əçğıöşü",
        "və bir bu da də üçün ilə nə mən sən o biz siz onlar mənim sənin çox kimi qədər var yox olan deyil amma hər \
         necə niyə kim harada hansı zaman sonra əvvəl zəhmət olmasa yaz salam təşəkkür bəli xeyr edir olub görə ki \
         isə",
    ),
    (
        Lang::Bel,
        "ўіёыэ",
        "і ў у не на я што з ён яна як гэта а па але яны да ты мы за вы так для ад пра яго яе ці калі ёсць быў была \
         мне мяне мой табе цябе хто дзе чаму які якая можна можа можаш прывітанне дзякуй напішы вельмі усе ўсе яшчэ \
         таксама былі каб",
    ),
    (
        Lang::Srp,
        "ђјљњћџ",
        "и у не на ја што са се он она како ово а по али они да ти ми за ви су је од о или ако био била мој моја ко \
         где када зашто који која које могу може можеш здраво хвала напиши објасни врло све то из до као није сам си \
         биће код",
    ),
    (
        Lang::Mkd,
        "ѓѕјќљњџ",
        "и во не на јас што со се тој таа како ова а по но тие да ти ние за вие е од о или ако беше мој моја кој каде \
         кога зошто која кои може можеш здраво благодарам напиши објасни многу сите тоа до ќе има нема сум си го ги \
         му при",
    ),
    (
        Lang::Mar,
        "ळ",
        "आहे आणि हे ते मी तू तुम्ही आम्ही काय कसे का कुठे कधी कोण नाही आहेत होते होता या त्या हा ही व पण की साठी \
         मध्ये एक मला माझे तुझे झाले केले",
    ),
];

struct Evidence {
    words: HashMap<&'static str, Languages>,
    letters: HashMap<char, Languages>,
}

static EVIDENCE: LazyLock<Evidence> = LazyLock::new(|| {
    let (mut words, mut letters) = (HashMap::new(), HashMap::new());
    for (at, (_, own_letters, own_words)) in LANGUAGES.iter().enumerate() {
        for word in own_words.split_whitespace() {
            *words.entry(word).or_default() |= 1 << at;
        }
        for letter in own_letters.chars() {
            *letters.entry(letter).or_default() |= 1 << at;
        }
    }
    Evidence { words, letters }
});

/// The places in [`LANGUAGES`] of those that `word`, in lower case, tells for: those that list it, or else those that
/// write all its special letters.
pub(super) fn told_by(word: &str) -> impl Iterator<Item = usize> {
    let Evidence { words, letters } = &*EVIDENCE;
    let by_letters = || {
        // Beyond Latin, only what a script's languages do not have in common is special.
        let special = |letter: &char| !letter.is_ascii() && (*letter < '\u{370}' || letters.contains_key(letter));
        let writers = word.chars().filter(special).map(|letter| letters.get(&letter).copied().unwrap_or_default());
        writers.reduce(|one, other| one & other).unwrap_or_default()
    };
    let languages = words.get(word).copied().unwrap_or_else(by_letters);
    (0..LANGUAGES.len()).filter(move |at| languages & (1 << at) != 0)
}
