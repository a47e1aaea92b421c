-- migrate:up
-- Industries are of the list; what the migrations before wrote keeps to the rules of templates and bots.
-- As the migrating login: rows of a table under FORCE. Templates of one's own become what templates may
-- be now; what was written before stays beside them, in recommended_settings, for whoever wrote it.
create temporary table fitting on commit drop as
select t.id,
  case when i.industry is not null then t.industry
    else case lower(btrim(t.industry)) when 'salud' then 'health' when 'comercio' then 'retail' else 'other' end
    end as industry,
  case
    when private.is_template_text(t.system_prompt_template) then t.system_prompt_template
    when private.is_template_text(m.text) then m.text
    else translate(t.system_prompt_template, '{}', '') end as prompt,
  case when private.is_personality(t.default_personality) then t.default_personality
    else private.fitting_personality(t.default_personality) end as personality,
  coalesce(t.recommended_settings, '{}') - case
    when t.recommended_settings -> 'working_hours' is not null
      and not private.is_working_hours(t.recommended_settings -> 'working_hours')
    then 'working_hours' else '' end as settings,
  case when private.is_conversations(t.example_conversations) then t.example_conversations
    -- As the first templates had them: {"user": …, "bot": …}.
    else (select coalesce(jsonb_agg(jsonb_build_object('title', left(e.value ->> 'user', 60), 'turns',
        jsonb_build_array(
          jsonb_build_object('from', 'customer', 'text', e.value ->> 'user'),
          jsonb_build_object('from', 'bot', 'text', e.value ->> 'bot'))))
        filter (where e.value ->> 'user' <> '' and e.value ->> 'bot' <> ''), '[]')
      from jsonb_array_elements(t.example_conversations) as e)
    end as examples
from public.chatbot_templates t
left join public.industries i on i.industry = t.industry
cross join lateral (
  select replace(replace(regexp_replace(regexp_replace(regexp_replace(t.system_prompt_template,
      '\{\{(company_name|persona|knowledge|contact)\}\}', E'\x01\\1\x02', 'g'),
    '\{\{+', '{', 'g'), '\}\}+', '}', 'g'), E'\x01', '{{'), E'\x02', '}}') as text
) as m;
update public.chatbot_templates t
set industry = f.industry, system_prompt_template = f.prompt, default_personality = f.personality,
  example_conversations = f.examples,
  recommended_settings = f.settings || jsonb_build_object('before_upgrade', jsonb_strip_nulls(jsonb_build_object(
    'industry', case when f.industry <> t.industry then t.industry end,
    'system_prompt_template', case when f.prompt <> t.system_prompt_template then t.system_prompt_template end,
    'default_personality', case when f.personality <> t.default_personality then t.default_personality end,
    'working_hours', case when not f.settings ? 'working_hours' then t.recommended_settings -> 'working_hours' end,
    'example_conversations', case when f.examples <> t.example_conversations then t.example_conversations end)))
from fitting f
where f.id = t.id and (f.industry <> t.industry or f.prompt <> t.system_prompt_template
  or f.personality <> t.default_personality or f.examples <> t.example_conversations
  or f.settings <> t.recommended_settings);
drop table fitting;

set local role neurant_owner;

alter table public.chatbot_templates
  add constraint chatbot_templates_industry_fkey
    foreign key (industry) references public.industries (industry) not valid,
  add constraint chatbot_templates_text_check
    check (private.is_template_text(system_prompt_template)) not valid,
  add constraint chatbot_templates_personality_check
    check (private.is_personality(default_personality)) not valid,
  add constraint chatbot_templates_hours_check
    check (recommended_settings -> 'working_hours' is null
      or private.is_working_hours(recommended_settings -> 'working_hours')) not valid,
  add constraint chatbot_templates_examples_check
    check (private.is_conversations(example_conversations)) not valid;
create index chatbot_templates_industry_idx on public.chatbot_templates (industry);
alter table public.companies
  add constraint companies_industry_fkey
    foreign key (industry) references public.industries (industry) not valid;

reset role;

alter table public.chatbot_templates validate constraint chatbot_templates_industry_fkey;
alter table public.chatbot_templates validate constraint chatbot_templates_text_check;
alter table public.chatbot_templates validate constraint chatbot_templates_personality_check;
alter table public.chatbot_templates validate constraint chatbot_templates_hours_check;
alter table public.chatbot_templates validate constraint chatbot_templates_examples_check;
alter table public.companies validate constraint companies_industry_fkey;
alter table public.companies validate constraint companies_logo_check;
alter table public.companies validate constraint companies_website_check;
alter table public.chatbots validate constraint chatbots_hours_check;
alter table public.chatbots validate constraint chatbots_traits_check;
alter table public.chatbots validate constraint chatbots_avatar_check;
alter table public.chatbots validate constraint chatbots_prompt_check;
alter table public.chatbots validate constraint chatbots_triggers_check;
-- migrate:down
