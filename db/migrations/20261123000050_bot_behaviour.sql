-- migrate:up
-- Industries, what a template may hold, how a bot behaves: hours, persona, picture.
set local role neurant_owner;

create table public.industries (
  industry varchar(100) primary key check (industry ~ '^[a-z]+(_[a-z]+)*$'),
  position smallint not null unique
);
comment on table public.industries is
  'Platform table: what a company may say that it does, in the order in which it is offered. Names are texts of the catalogue (industries.<industry>).';
insert into public.industries (industry, position) values
  ('retail', 1), ('ecommerce', 2), ('health', 3), ('beauty', 4), ('restaurants', 5), ('hospitality', 6),
  ('education', 7), ('real_estate', 8), ('professional_services', 9), ('home_services', 10),
  ('automotive', 11), ('logistics', 12), ('technology', 13), ('finance', 14), ('other', 15);
alter table public.industries enable row level security, force row level security;
create policy everybody_select on public.industries for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.industries to authenticated, neurant_worker, neurant_router;

create function private.list_industries() returns table (industry text)
language sql stable security definer set search_path = '' as $$
  select i.industry from public.industries i order by i.position
$$;
comment on function private.list_industries() is
  'The industries in their order. Definer: who signs up has no company, and no policy could know them.';
grant execute on function private.list_industries() to neurant_app, authenticated;
alter function private.list_industries() owner to neurant_router;

-- Hours ---------------------------------------------------------------------------------------------

create function private.is_working_hours(p_hours jsonb) returns boolean
language plpgsql immutable set search_path = '' as $$
declare
  v_day text;
  v_intervals jsonb;
  v_interval jsonb;
begin
  if jsonb_typeof(p_hours) is distinct from 'object' then
    return false;
  end if;
  for v_day, v_intervals in select * from jsonb_each(p_hours) loop
    if v_day not in ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday')
      or jsonb_typeof(v_intervals) <> 'array' or jsonb_array_length(v_intervals) > 6 then
      return false;
    end if;
    for v_interval in select * from jsonb_array_elements(v_intervals) loop
      if jsonb_typeof(v_interval) <> 'array' or jsonb_array_length(v_interval) <> 2
        or jsonb_typeof(v_interval -> 0) <> 'string' or jsonb_typeof(v_interval -> 1) <> 'string'
        or v_interval ->> 0 !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
        or v_interval ->> 1 !~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
        or v_interval ->> 0 = v_interval ->> 1 then
        return false;
      end if;
    end loop;
  end loop;
  return p_hours = '{}' or jsonb_path_exists(p_hours, '$.*[*]');
end $$;
comment on function private.is_working_hours(jsonb) is
  'Whether a value says when people attend: {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], …}, by the clock of the bot''s time zone. A day that is missing or empty is closed; an interval that ends before it begins ends on the next day; {} sets no hours: somebody is always there.';

create function private.is_open(p_hours jsonb, p_timezone text, p_at timestamptz) returns boolean
language sql stable set search_path = '' as $$
  select p_hours is null or p_hours = '{}' or exists (
    select
    from (select p_at at time zone p_timezone as moment) as local
    cross join lateral (values
      (lower(to_char(local.moment, 'FMday')), to_char(local.moment, 'HH24:MI'), false),
      (lower(to_char(local.moment - interval '1 day', 'FMday')), to_char(local.moment, 'HH24:MI'), true)
    ) as asked (day, clock, is_day_after)
    cross join lateral jsonb_array_elements(coalesce(p_hours -> asked.day, '[]')) as one (span)
    where case
      when asked.is_day_after then one.span ->> 1 < one.span ->> 0 and asked.clock < one.span ->> 1
      when one.span ->> 1 < one.span ->> 0 then asked.clock >= one.span ->> 0
      else asked.clock >= one.span ->> 0 and asked.clock < one.span ->> 1 end)
$$;
comment on function private.is_open(jsonb, text, timestamptz) is
  'Whether the hours (is_working_hours) have people attend at a moment, by the wall clock there.';

create function private.opens_at(p_hours jsonb, p_timezone text, p_at timestamptz)
returns timestamptz
language sql stable set search_path = '' as $$
  select min(c.moment)
  from (
    select (day.local + (one.span ->> 0)::time) at time zone p_timezone + shift.by as moment
    from generate_series(0, 8) as n (days)
    cross join lateral (
      select date_trunc('day', p_at at time zone p_timezone) + n.days * interval '1 day' as local
    ) as day
    cross join lateral jsonb_array_elements(
      coalesce(p_hours -> lower(to_char(day.local, 'FMday')), '[]')) as one (span)
    -- A clock that is set back shows an hour twice.
    cross join (values (interval '0'), (interval '1 hour'), (interval '-1 hour'),
      (interval '30 minutes'), (interval '-30 minutes')) as shift (by)
    union all
    -- Clocks are changed on the half hours, and that may happen inside of an interval.
    select date_bin('30 minutes', p_at, 'epoch') + n.halves * interval '30 minutes'
    from generate_series(1, 8 * 48) as n (halves)
  ) as c
  where not private.is_open(p_hours, p_timezone, p_at)
    and c.moment > p_at and private.is_open(p_hours, p_timezone, c.moment)
$$;
comment on function private.opens_at(jsonb, text, timestamptz) is
  'When people are back; null while they attend.';

create function private.is_personality(p_traits jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select jsonb_typeof(p_traits) = 'object'
    and coalesce(p_traits ->> 'tone' in ('friendly', 'professional', 'helpful', 'expert', 'formal'), true)
    and coalesce(p_traits ->> 'language' in ('es', 'en'), true)
    and coalesce(jsonb_typeof(p_traits -> 'persona') = 'string'
      and char_length(p_traits ->> 'persona') between 1 and 60
      and p_traits ->> 'persona' !~ '[[:cntrl:]]', true)
$$;
comment on function private.is_personality(jsonb) is
  'What is known of a personality is well formed: tone, language (es, en), persona (the name it gives itself). Other traits are free.';

create function private.fitting_personality(p_traits jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  select coalesce(jsonb_object_agg(t.name, t.value)
    filter (where private.is_personality(jsonb_build_object(t.name, t.value))), '{}')
  from jsonb_each(case jsonb_typeof(p_traits) when 'object' then p_traits else '{}' end) as t (name, value)
$$;
comment on function private.fitting_personality(jsonb) is
  'A personality without the traits that are not well formed: for what was written before there was a rule.';

create function private.is_https(p_url text) returns boolean
language sql immutable set search_path = '' as $$
  select p_url ~ '^https://[^[:space:]/?#@]+([/?#][^[:space:]]*)?$' and char_length(p_url) <= 2000
$$;
comment on function private.is_https(text) is 'An address of a picture or page that a browser may be sent to.';

-- A check constraint calls its functions as whoever writes the row.
grant execute on function private.is_working_hours(jsonb), private.is_personality(jsonb),
  private.is_https(text) to neurant_router, neurant_worker, authenticated;
grant execute on function private.is_open(jsonb, text, timestamptz),
  private.opens_at(jsonb, text, timestamptz) to neurant_router, neurant_worker, authenticated;

alter table public.chatbots
  add constraint chatbots_hours_check check (private.is_working_hours(working_hours)) not valid,
  add constraint chatbots_traits_check check (private.is_personality(personality_traits)) not valid,
  add constraint chatbots_avatar_check check (private.is_https(avatar_url)) not valid,
  add constraint chatbots_prompt_check check (char_length(system_prompt) <= 5000) not valid,
  add constraint chatbots_triggers_check
    check (hitl_triggers <@ '["no_answer", "user_request", "keywords"]') not valid;
comment on column public.chatbots.working_hours is
  'When people attend, see private.is_working_hours. The bot itself always answers; outside of these hours a handover waits in the queue and the customer is told when people are back.';
comment on column public.chatbots.personality_traits is
  'See private.is_personality: in which words the bot greets, thanks and says that it does not know, and what it calls itself. Quotes of documents stay as they are written.';

-- Templates -----------------------------------------------------------------------------------------

create function private.is_template_text(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select regexp_replace(p_text, '\{\{(company_name|persona|knowledge|contact)\}\}', '', 'g')
    !~ '\{\{|\}\}'
$$;
comment on function private.is_template_text(text) is
  'Whether all placeholders of a text are known: {{company_name}}, {{persona}} (what the bot calls itself), {{knowledge}} (where its answers come from), {{contact}} (phone, else website, else e-mail of the company).';

create function private.fill_template(p_text text, p_values jsonb) returns text
language plpgsql immutable set search_path = '' as $$
declare
  v_name text;
begin
  foreach v_name in array '{company_name,persona,knowledge,contact}'::text[] loop
    -- No value may bring a placeholder of its own.
    p_text := replace(p_text, '{{' || v_name || '}}',
      regexp_replace(coalesce(p_values ->> v_name, ''), '[{}]+', '', 'g'));
  end loop;
  return p_text;
end $$;
comment on function private.fill_template(text, jsonb) is
  'A template''s text with its placeholders filled.';

create function private.is_conversations(p_examples jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select jsonb_typeof(p_examples) = 'array' and not exists (
    select
    from jsonb_array_elements(p_examples) as c (example)
    where jsonb_typeof(c.example) <> 'object' or coalesce(c.example ->> 'title', '') = ''
      or jsonb_typeof(c.example -> 'turns') is distinct from 'array'
      or exists (
        select from jsonb_path_query(c.example, '$.turns[*]') as t (turn)
        where t.turn ->> 'from' is null or t.turn ->> 'from' not in ('customer', 'bot')
          or coalesce(t.turn ->> 'text', '') = ''))
$$;
comment on function private.is_conversations(jsonb) is
  'Examples: [{"title": …, "turns": [{"from": "customer" or "bot", "text": …}, …]}, …].';

grant execute on function private.fill_template(text, jsonb) to authenticated;
-- Who reads a template never writes one, but a count of its use is written by the router.
grant execute on function private.is_template_text(text), private.is_conversations(jsonb)
  to neurant_router;

alter table public.companies
  add column size text
    constraint companies_size_check check (size in ('1', '2-10', '11-50', '51-200', '201-1000', '1001+')),
  add constraint companies_logo_check check (private.is_https(logo_url)) not valid,
  add constraint companies_website_check check (website ~ '^https?://[^[:space:]]+$') not valid;
comment on column public.companies.size is 'How many people work there, as told at sign-up.';
create index companies_industry_idx on public.companies (industry) where industry is not null;
grant update (size) on public.companies to authenticated;
select private.audit_column('public.companies', 'size', 'shown');

reset role;

-- What was free becomes what it may be now. What was written of a bot before stays among its free traits;
-- of a company, a picture that no browser may be sent to goes.
update public.companies
set industry = case lower(btrim(industry))
    when 'salud' then 'health' when 'comercio' then 'retail' else 'other' end,
  logo_url = case when private.is_https(logo_url) then logo_url end,
  website = case
    when website ~ '^https?://[^[:space:]]+$' then website
    when 'https://' || btrim(website) ~ '^https://[^[:space:]/:]+([/:][^[:space:]]*)?$'
      and char_length(btrim(website)) <= 247 then 'https://' || btrim(website)
    end
where industry is not null or not private.is_https(logo_url)
  or website !~ '^https?://[^[:space:]]+$';
update public.chatbots b
set working_hours = case when private.is_working_hours(b.working_hours) then b.working_hours else '{}' end,
  personality_traits = private.fitting_personality(b.personality_traits)
    || jsonb_build_object('before_upgrade', jsonb_strip_nulls(jsonb_build_object(
      'working_hours', case when not private.is_working_hours(b.working_hours) then b.working_hours end,
      'personality_traits',
        case when not private.is_personality(b.personality_traits) then b.personality_traits end,
      'avatar_url', case when not private.is_https(b.avatar_url) then b.avatar_url end,
      'system_prompt', case when char_length(b.system_prompt) > 5000 then b.system_prompt end,
      'hitl_triggers', case when not b.hitl_triggers <@ '["no_answer", "user_request", "keywords"]'
        then b.hitl_triggers end))),
  avatar_url = case when private.is_https(b.avatar_url) then b.avatar_url end,
  system_prompt = left(b.system_prompt, 5000),
  hitl_triggers = case
    when b.hitl_triggers <@ '["no_answer", "user_request", "keywords"]' then b.hitl_triggers
    else array_to_json(array(select k.known
      from unnest('{no_answer,user_request,keywords}'::text[]) as k (known)
      where b.hitl_triggers ? k.known))::jsonb end
where not private.is_working_hours(b.working_hours) or not private.is_personality(b.personality_traits)
  or not private.is_https(b.avatar_url) or char_length(b.system_prompt) > 5000
  or not b.hitl_triggers <@ '["no_answer", "user_request", "keywords"]';
update public.chatbot_templates set industry = case industry
    when 'salud' then 'health' when 'comercio' then 'retail' else 'other' end,
  example_conversations = '[]'
where name in ('Atención al cliente', 'Ventas', 'Reserva de citas');
-- migrate:down
