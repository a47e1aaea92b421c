-- Seed: industries, public mail domains, the embedding model and the one row of session rules.

insert into public.industries (industry, position) values
  ('retail', 1), ('ecommerce', 2), ('health', 3), ('beauty', 4), ('restaurants', 5), ('hospitality', 6),
  ('education', 7), ('real_estate', 8), ('professional_services', 9), ('home_services', 10),
  ('automotive', 11), ('logistics', 12), ('technology', 13), ('finance', 14), ('other', 15);

-- Anybody can get an address in these domains, so no company can claim them.
insert into public.public_mail_domains (domain)
select unnest('{126.com,163.com,aol.com,arnet.com.ar,bluewin.ch,bol.com.br,comcast.net,
  duck.com,etb.net.co,fastmail.com,fibertel.com.ar,free.fr,gmail.com,gmx.com,gmx.de,gmx.net,
  googlemail.com,hey.com,hotmail.be,hotmail.cl,hotmail.co,hotmail.co.uk,hotmail.com,
  hotmail.com.ar,hotmail.com.br,hotmail.com.mx,hotmail.es,hotmail.fr,hotmail.it,hushmail.com,
  icloud.com,inbox.com,laposte.net,libero.it,live.cl,live.co.uk,live.com,live.com.ar,
  live.com.mx,live.com.pt,live.fr,live.nl,mac.com,mail.com,mail.ru,mailbox.org,mailinator.com,
  me.com,msn.com,naver.com,orange.fr,outlook.cl,outlook.co,outlook.com,outlook.com.ar,
  outlook.com.br,outlook.com.mx,outlook.es,outlook.fr,outlook.pt,pm.me,posteo.de,prodigy.net.mx,
  proton.me,protonmail.com,qq.com,rediffmail.com,rocketmail.com,sapo.pt,sky.com,speedy.com.ar,
  t-online.de,telefonica.net,terra.com,terra.com.br,terra.es,tuta.com,tutanota.com,une.net.co,
  uol.com.br,verizon.net,vtr.net,wanadoo.fr,web.de,yahoo.ca,yahoo.cl,yahoo.co,yahoo.co.in,
  yahoo.co.uk,yahoo.com,yahoo.com.ar,yahoo.com.br,yahoo.com.co,yahoo.com.mx,yahoo.com.pe,
  yahoo.com.ve,yahoo.es,yahoo.fr,yahoo.it,yandex.com,yandex.ru,ymail.com,yopmail.com,
  zohomail.com}'::text[]);

insert into public.embedding_models (name, dimensions) values ('multilingual-e5-small', 384);

insert into private.session_rules default values;
