"""The small words of the languages we stem: they tell a language, and nothing about what a text says. Folded."""

STOP_WORDS = {
    code: frozenset(words.split())
    for code, words in {
        "en": """a about above after again all also am an and any are as at be because been before being below
            between both but by can cannot could did do does doing down during each few for from
            further get had has have having he her here hers him his how i if in into is it its just
            let me more most my no nor not of off on once only or other our out over own same shall
            she should so some such than that the their them then there these they this those
            through to too under until up us very was we were what when where which while who whom
            why will with would you your""",
        "de": """aber alle als also am an auch auf aus bei beim bin bis bist da damit dann das dass dein deine dem
            den denn der des dessen die dies diese diesem diesen dieser dieses doch dort du durch
            ein eine einem einen einer eines er es etwas fur gegen hab habe haben hat hatte hatten
            hier hinter ich ihm ihn ihnen ihr ihre im in ist ja jede jedem jeden jeder jedes kann
            kein keine konnen konnte mal man mehr mein meine mich mir mit muss mussen nach nein
            nicht noch nun nur ob oder ohne sehr sein seine sich sie sind so soll sollen sollte um
            und uns unser unter vom von vor wann war waren warum was weil welche welcher welches
            wenn wer werden wie wieder will wir wird wo wurde wurden zu zum zur uber""",
        "fr": """a ai alors au aucun aussi autre aux avant avec avoir bon car ce cela ces cet cette comme comment
            dans de des doit donc du elle elles en encore est et etaient etait etre eu eux fait ici
            il ils je la le les leur leurs lui ma mais me meme mes moi mon ne nos notre nous on ont
            ou par pas peut plus pour pourquoi quand que quel quelle quels qui sa sans se ses si son
            sont sous sur ta te tes toi ton tous tout tu un une vos votre vous""",
        "es": """a al algo como con cual cuando de del desde donde dos el ella ellas ellos en entre era es esa ese
            eso esta estan estas este esto fue ha hay han hasta la las le les lo los mas me mi mis
            muy nada ni no nos nuestra nuestro o otra otro para pero por porque que quien se ser si
            sin sobre son su sus tambien te tiene todo todos tu tus un una uno y ya yo""",
        "it": """a ad al alla alle anche che chi ci come con cosa da dal dalla dei del della delle di dove e ed era
            essere fra gli ha hanno ho i il in io la le lei lo loro lui ma mi mia mio molto ne negli
            nei nel nella no noi non nostra nostro o per perche piu quale quando quella quello
            questa questo se sei si sia sono su sua sul sulla suo tra tu tutti tutto un una uno voi""",
        "pt": """a ao aos as ate com como da das de dela dele depois do dos e ela elas ele eles em entre era essa
            esse esta este eu foi ha isso isto ja la mais mas me mesmo meu minha muito na nao nas
            nem no nos nosso num numa o onde os ou para pela pelo por porque quais qual quando que
            quem sao se sem ser seu seus so sua tambem te tem um uma voce""",
        "nl": """aan al alle als altijd ben bij dan dat de der deze die dit door doch doen dus een en er ge geen haar
            had heb hebben heeft hem het hier hij hoe hun iets ik in is ja je kan kon maar me meer
            men met mij mijn moet na naar niet niets nog nu of om omdat onder ons ook op over reeds
            te tegen toch toen tot u uit uw van veel voor want waren was wat waar we wel werd wezen
            wie wij wil worden zal ze zei zelf zich zij zijn zo zonder zou""",
    }.items()
}
